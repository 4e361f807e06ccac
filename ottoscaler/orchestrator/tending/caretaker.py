"""One worker from its adoption to its removal.

    watch ──► transitions ──► handler          (in order, retried)
          └─► log ──► buffer ──► handler       (from the first line to the last)
    ended ──► log taken, end told, event settled, kept long enough ──► removed

Waiting for the handler is bounded (`Rules.handover`): a handler that is away delays the removal of an
ended pod by so long, and nothing else. Waiting until the worker's event cannot come again is not
bounded: without its pod such an event would create the worker a second time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ottoscaler.orchestrator.handler.buffer import Budget, Item, LogBuffer
from ottoscaler.orchestrator.handler.entries import log_entry, metadata_of, notification
from ottoscaler.orchestrator.handler.forward import Forwarder
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.handler.notify import Notifier, Outbox
from ottoscaler.orchestrator.kube_api import Kube, is_passing, pods_path
from ottoscaler.orchestrator.lifecycle import Stage, Track, Transition, advance, vanish
from ottoscaler.orchestrator.logs.follow import Follower, Read
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.tending.marks import Marks
from ottoscaler.orchestrator.worker import CONTAINER, Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("workers")

_NOTE = 10.0
"""Seconds that a removal waits at most for its mark to be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How workers are tended. Times are seconds."""

    retain: float = 600.0
    """A failed worker is kept for so long after its end, for people to look at."""
    handover: float = 15.0
    """The removal of an ended worker waits at most so long for the handler."""
    follow_logs: bool = True
    buffer_lines: int = 2000
    buffer_bytes: int = 512 * 1024
    pressure: float = 30.0
    """A full buffer makes its reader wait for so long before lines are dropped."""
    line_limit: int = 64 * 1024


class Settled(Protocol):
    """Whether a worker's order can come again."""

    async def wait(self, worker: Worker) -> None:
        """Returns when it cannot."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every caretaker shares."""

    kube: Kube
    namespace: str
    rules: Rules
    marks: Marks
    link: HandlerLink | None
    """None: there is no handler, and nobody is told anything."""
    notifier: Notifier | None
    budget: Budget
    streams: asyncio.Semaphore
    settled: Settled
    telemetry: Telemetry
    clock: Clock
    spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
    """Starts what may outlive the caretaker: a buffer is emptied although its worker is gone."""


class Caretaker:
    """Tends one pod. `see` and `gone` are told by the watch; `run` does the work."""

    def __init__(self, worker: Worker, around: Surroundings) -> None:
        self.worker = worker
        self._around = around
        mark = around.marks.get(worker.name)
        self._track = Track(told=mark.told)
        self._changed = asyncio.Event()
        self._outbox = Outbox()
        self._outbox.on_told = lambda told: around.marks.told(worker.name, Stage(told.status), worker.task_id)
        self._gone = False
        self._end: Transition | None = None
        self._forwarding: asyncio.Task[None] | None = None
        self._lines = mark.lines
        self._buffer = LogBuffer(
            lines=around.rules.buffer_lines, size=around.rules.buffer_bytes, budget=around.budget
        )
        self.see(worker)

    def see(self, worker: Worker) -> None:
        """A newer version of the pod."""
        self.worker = worker
        before = self._track.last
        self._track, news = advance(self._track, worker)
        self._tell(news)
        if worker.started_at is not None and before is not None and before.started_at is None:
            self._around.telemetry.start.observe(max(0.0, worker.started_at - worker.requested_at))
        self._changed.set()

    def gone(self, worker: Worker) -> None:
        """The pod is gone from the API; `worker` is its last version."""
        self.worker = worker
        self._track, news = advance(self._track, worker)
        self._track, end = vanish(self._track, at=self._around.clock.time())
        self._tell([*news, *end])
        self._gone = True
        self._changed.set()

    @property
    def over(self) -> bool:
        """It runs no more."""
        return self._gone or self.worker.ended

    def _tell(self, news: list[Transition]) -> None:
        around = self._around
        for transition in news:
            if transition.stage.final:
                self._end = transition
                around.telemetry.ended.labels(transition.stage.name.lower()).inc()
                log.info(
                    "worker ended",
                    worker=self.worker.name,
                    task=self.worker.task_id[:80],
                    outcome=transition.stage.name.lower(),
                    reason=transition.reason,
                )
            if around.notifier is not None:
                around.notifier.tell(self._outbox, notification(self.worker, transition, around.namespace))

    async def run(self) -> None:
        """Until the pod is gone and the handler was told, or given up on."""
        around = self._around
        handed_over = await self._log_and_end(around.link) if around.link is not None else True
        await self._until(lambda: self.over)
        if not self._gone:
            await around.settled.wait(self.worker)
            await self._retain()
            await self._note_end()
            await self._remove()
        await self._until(lambda: self._gone)
        if handed_over:
            around.marks.forget(self.worker.name)
        else:
            around.spawn(self._forget_later())

    async def _note_end(self) -> None:
        """Without its pod only the mark can tell a successor how the worker ended, and that this was told."""
        if self._around.link is None:
            return
        if self._end is not None:
            self._around.marks.ended(self.worker.name, self._end.stage, self._end.reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTE):
                await self._around.marks.written(self.worker.name)

    async def _forget_later(self) -> None:
        if self._forwarding is not None:
            await asyncio.wait({self._forwarding})
        await self._outbox.empty.wait()
        self._around.marks.forget(self.worker.name)

    async def _log_and_end(self, link: HandlerLink) -> bool:
        """Until the worker has ended and the handler has its log and its end; False when that took too long."""
        self._forwarding = forwarding = self._around.spawn(self._forwarder(link).run())
        try:
            await self._until(lambda: self.worker.has_log or self.over)
            if self._around.rules.follow_logs and self.worker.has_log:
                await self._follow()
        finally:
            self._buffer.close()
        await self._until(lambda: self.over)
        return await self._hand_over(forwarding)

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits for the watch to make `condition` true; False when that took longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _forwarder(self, link: HandlerLink) -> Forwarder:
        around, worker = self._around, self.worker

        def entry(item: Item) -> pb.WorkerLogEntry:
            pod = metadata_of(self.worker, around.namespace)
            return log_entry(item, worker_id=worker.name, task_id=worker.task_id, pod=pod)

        forwarder = Forwarder(
            buffer=self._buffer,
            entry=entry,
            link=link,
            streams=around.streams,
            telemetry=around.telemetry,
            clock=around.clock,
        )
        forwarder.on_taken = lambda item: around.marks.taken(
            worker.name, item.position, item.number + max(0, item.dropped - 1)
        )
        return forwarder

    async def _follow(self) -> None:
        around = self._around
        follower = Follower(
            kube=around.kube,
            namespace=around.namespace,
            pod=self.worker.name,
            position=around.marks.get(self.worker.name).position,
            ended=lambda: self.over,
            wait_for_change=self._wait_for_change,
            line_limit=around.rules.line_limit,
            clock=around.clock,
        )
        around.telemetry.log_streams.inc()
        dropping = False  # the handler has been behind for too long: lines are dropped until there is room
        over_at: float | None = None
        try:
            async for read in follower.read():
                if over_at is None and self.over:
                    over_at = around.clock.monotonic()
                if self._buffer.full and not dropping:
                    dropping = not await self._buffer.room(self._patience(over_at))
                elif not self._buffer.full:
                    dropping = False
                self._put(read)
        finally:
            around.telemetry.log_streams.dec()

    def _patience(self, over_at: float | None) -> float:
        """Seconds to wait for room. A handler that is merely slow must not keep an ended worker for ever."""
        rules = self._around.rules
        if over_at is None:
            return rules.pressure
        left = over_at + rules.handover - self._around.clock.monotonic()
        return max(0.0, min(rules.pressure, left))

    async def _wait_for_change(self, seconds: float) -> None:
        before = self.worker
        await self._until(lambda: self.worker is not before or self._gone, seconds)

    def _put(self, read: Read) -> None:
        lines = self._around.telemetry.log_lines
        if read.line is None:
            lines.labels("lost").inc()
            at = self._around.clock.time()
            self._buffer.put(Item(self._lines, at, "", position=read.position, until=at, reason=read.gap))
            return
        self._lines += 1
        metadata = {"truncated_bytes": str(read.cut)} if read.cut else None
        dropped = self._buffer.put(
            Item(
                self._lines,
                read.line.at / 1e9,
                read.line.text.decode(errors="replace"),
                position=read.position,
                source=CONTAINER,
                metadata=metadata,
            )
        )
        if dropped:
            lines.labels("dropped_by_buffer").inc(dropped)

    async def _hand_over(self, forwarding: "asyncio.Task[None]") -> bool:
        """Waits for the handler to take the log and the news; False when it did not in time."""
        told = asyncio.ensure_future(self._outbox.empty.wait())
        try:
            _, pending = await asyncio.wait({forwarding, told}, timeout=self._around.rules.handover)
        finally:
            told.cancel()
        return not pending

    async def _retain(self) -> None:
        """A failed worker stays for people to look at, unless somebody has said that nobody will."""
        if self.worker.phase != "Failed":
            return
        since = self.worker.finished_at or self._around.clock.time()
        left = since + self._around.rules.retain - self._around.clock.time()
        if left > 0:
            await self._until(lambda: self._gone or self.worker.released, left)

    async def _remove(self) -> None:
        around = self._around
        backoff = Backoff(initial=0.2, maximum=10.0)
        body = {"preconditions": {"uid": self.worker.uid}}
        while not self._gone:
            try:
                await around.kube.delete(pods_path(around.namespace, self.worker.name), body)
            except KubeError as error:
                if error.status in {404, 409}:
                    return
                if not is_passing(error):
                    log.warning("an ended worker cannot be removed", worker=self.worker.name, error=error)
                await around.clock.sleep(backoff.next())
            else:
                around.telemetry.removed.inc()
                return
