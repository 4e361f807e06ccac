"""The leader's care for all workers: one caretaker each, begun with what exists and kept up by the watch.

Ending this, by a lost Lease or a shutdown, ends nothing of the workers themselves: they run on, and the
next leader takes them over with the marks that this one left.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from ottoscaler.orchestrator.handler.buffer import Budget
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.handler.notify import Notifier, Outbox
from ottoscaler.orchestrator.index import Change, WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.lifecycle import Stage
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.tending.caretaker import Caretaker, Rules, Settled, Surroundings
from ottoscaler.orchestrator.tending.marks import Marks
from ottoscaler.orchestrator.times import format_time
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What tending needs from outside."""

    kube: Kube
    index: WorkerIndex
    link: HandlerLink | None
    settled: Settled
    rules: Rules
    budget: Budget
    streams: asyncio.Semaphore
    telemetry: Telemetry
    clock: Clock
    flush: float = 1.5
    """Seconds at the end for the handler to take what is buffered."""


class Tender:
    """Tends every worker while it runs: `run` is a leader's duty."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._care: dict[str, Caretaker] = {}
        self._tasks = TaskSet(_failed)
        self._outliving = TaskSet(_failed)

    async def run(self) -> None:
        """Until cancelled; then hands over."""
        parts = self._parts
        await parts.index.synced.wait()
        marks = await self._load_marks()
        notifier = None
        if parts.link is not None:
            notifier = Notifier(parts.link, telemetry=parts.telemetry, clock=parts.clock)
        around = Surroundings(
            kube=parts.kube,
            namespace=parts.index.namespace,
            rules=parts.rules,
            marks=marks,
            link=parts.link,
            notifier=notifier,
            budget=parts.budget,
            streams=parts.streams,
            settled=parts.settled,
            telemetry=parts.telemetry,
            clock=parts.clock,
            spawn=self._outliving.start,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(marks.run())
            if notifier is not None:
                self._tell_of_the_vanished(around, notifier)
            unsubscribe = parts.index.subscribe(lambda change: self._see(change, around))
            try:
                await asyncio.Event().wait()
            finally:
                unsubscribe()
                await self._hand_over(marks, notifier)

    async def _load_marks(self) -> Marks:
        marks = Marks(self._parts.kube, self._parts.index.namespace, clock=self._parts.clock)
        backoff = Backoff(initial=0.2, maximum=5.0)
        while True:
            try:
                await marks.load()
            except KubeError as error:
                log.warning("the marks of the last leader cannot be read, trying again", error=error)
                await self._parts.clock.sleep(backoff.next())
            else:
                return marks

    def _see(self, change: Change, around: Surroundings) -> None:
        worker = change.worker
        caretaker = self._care.get(worker.uid)
        if change.after is None:
            if caretaker is not None:
                del self._care[worker.uid]
                caretaker.gone(worker)
        elif caretaker is not None:
            caretaker.see(worker)
        else:
            caretaker = self._care[worker.uid] = Caretaker(worker, around)
            self._tasks.start(caretaker.run())

    def _tell_of_the_vanished(self, around: Surroundings, notifier: Notifier) -> None:
        """Workers that were known to the last leader and are gone: nobody saw how they ended."""
        for name in around.marks.names():
            if self._parts.index.get(name) is not None:
                continue
            mark = around.marks.get(name)
            over = mark.told is not None and mark.told.final
            if over or (mark.told is None and mark.end is None):
                around.marks.forget(name)
                continue
            outbox = Outbox()
            outbox.on_told = _forgetter(around.marks, name)
            notifier.tell(
                outbox,
                pb.WorkerStatusNotification(
                    worker_id=name,
                    task_id=mark.task_id,
                    status=(mark.end or Stage.TERMINATED).name,
                    timestamp=format_time(around.clock.time()),
                    reason=mark.why if mark.end else "the pod went while no orchestrator was watching",
                ),
            )

    async def _hand_over(self, marks: Marks, notifier: Notifier | None) -> None:
        """Stops reading logs, lets the handler take what was read, and leaves the marks for the next leader."""
        await self._tasks.cancel()
        if self._parts.link is not None and self._parts.link.available:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._outliving.wait(self._parts.flush))
                if notifier is not None:
                    # one that is under way and cut off would be told twice
                    group.create_task(notifier.drain(self._parts.flush))
        await self._outliving.cancel()
        if notifier is not None:
            await notifier.close()
        self._care.clear()
        try:
            async with asyncio.timeout(1.5):
                await marks.flush()
        except (KubeError, TimeoutError) as error:
            log.warning("the marks could not be left for the next leader", error=error)


def _forgetter(marks: Marks, name: str) -> Callable[[pb.WorkerStatusNotification], None]:
    return lambda told: marks.forget(name)


def _failed(error: BaseException) -> None:
    log.error("a worker's care failed", error=error, exc_info=error)
