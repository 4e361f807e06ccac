"""Tells the handler what became of each worker: every transition, in order, until it is acknowledged."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("handler")

_ANSWER = 30.0
_REFUSALS = 8
"""A notification that the handler refuses so often is given up."""
_GIVEN_UP = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}
)
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_BUSY = frozenset({grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""What says nothing of the notification itself: it is tried for ever."""


@dataclass(frozen=True, slots=True)
class _Problem:
    words: str
    counts: bool
    final: bool


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(eq=False, slots=True)
class Outbox:
    """The notifications of one worker that are still to be told; none at first."""

    queue: deque[pb.WorkerStatusNotification] = field(default_factory=deque)
    empty: asyncio.Event = field(default_factory=_set)
    on_told: Callable[[pb.WorkerStatusNotification], None] = lambda told: None
    busy: bool = False


class Notifier:
    """Sends notifications, each worker's in order, several workers' at once."""

    def __init__(
        self,
        link: HandlerLink,
        *,
        telemetry: Telemetry,
        clock: Clock,
        concurrency: int = 16,
        limit: int = 20_000,
    ) -> None:
        self._link = link
        self._telemetry = telemetry
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._limit = limit
        self._waiting = 0
        self._tasks = TaskSet(lambda error: log.error("telling the handler failed", error=error))

    async def drain(self, seconds: float) -> None:
        """Gives the handler so long to take what waits."""
        await self._tasks.wait(seconds)

    async def close(self) -> None:
        """Tells no more; what was not told is told by the next leader."""
        await self._tasks.cancel()

    def tell(self, box: Outbox, news: pb.WorkerStatusNotification) -> None:
        """Queues `news` behind what the worker's outbox holds; when all are full it is counted and lost."""
        if self._waiting >= self._limit:
            self._telemetry.notifications.labels("dropped").inc()
            return
        self._waiting += 1
        box.queue.append(news)
        box.empty.clear()
        if not box.busy:
            box.busy = True
            self._tasks.start(self._empty(box))

    async def _empty(self, box: Outbox) -> None:
        while box.queue:
            news = box.queue[0]
            outcome = await self._send(news)
            box.queue.popleft()
            self._waiting -= 1
            self._telemetry.notifications.labels(outcome).inc()
            box.on_told(news)
        box.busy = False
        box.empty.set()

    async def _send(self, news: pb.WorkerStatusNotification) -> str:
        """Until the handler has it, or has refused it for long: by its answer, or by failing over it."""
        backoff = Backoff(initial=0.2, maximum=10.0)
        refusals = 0
        while True:
            await self._link.ready()
            problem = await self._try(news)
            if problem is None:
                return "told"
            refusals += problem.counts
            if problem.final or refusals >= _REFUSALS:
                log.warning("the handler refuses a notification", worker=news.worker_id, error=problem.words)
                return "refused"
            # Nobody else waits meanwhile: what is wrong may be wrong with this worker alone.
            await self._clock.sleep(backoff.next())

    async def _try(self, news: pb.WorkerStatusNotification) -> "_Problem | None":
        async with self._slots:
            try:
                ack = await self._link.stub.NotifyWorkerStatus(news, timeout=_ANSWER)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code in _AWAY:
                    self._link.failed(error)
                return _Problem(
                    f"{code.name}: {(error.details() or '')[:200]}",
                    counts=code not in {*_AWAY, *_BUSY},
                    final=code in _GIVEN_UP,
                )
        self._link.worked()
        if ack.status == pb.WorkerStatusAck.ERROR:
            return _Problem(ack.message[:200], counts=True, final=False)
        return None
