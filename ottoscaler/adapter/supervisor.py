"""Sources under supervision: one task for each connection, whatever happens on the others.

Queues are grouped by what they share (`Backend.connection`); each group is one source, run for ever with
jittered backoff. A failure of the whole source becomes a failure of each of its queues, and a source
that says nothing at all for too long is started again. New configuration is applied to what runs:
connections that stay keep running with their new queues, the others are started or stopped.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from ottoscaler.adapter.config.model import Config, QueueConfig
from ottoscaler.adapter.failure_log import FailureLog
from ottoscaler.adapter.reading import FailureCode, ReadFailure, Reading
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.sources.base import Source, SourceContext, SourceError
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, supervise

log = get_logger("sources")

_DEADLINE_STEP = 1.0
_SHORTEST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0
"""Seconds between which the longest delay before a source is started again lies."""
_MOST_PATIENT = 0.5
"""The share of `maxAge` that a source may stay silent, so that a restart can still save the reading."""


@dataclass(frozen=True, slots=True)
class _Key:
    block: str
    connection: Hashable


class Supervisor:
    """Runs the sources of a configuration. Use as an async context manager; leaving it stops them all."""

    def __init__(self, readings: Readings, context: SourceContext) -> None:
        self._readings = readings
        self._context = context
        self._running: dict[_Key, _Connection] = {}
        self._tasks = asyncio.TaskGroup()

    @property
    def restarts(self) -> Mapping[str, int]:
        """How often the sources of each block had to be started again."""
        counts: dict[str, int] = {}
        for key, connection in self._running.items():
            counts[key.block] = counts.get(key.block, 0) + connection.restarts
        return counts

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._running.values():
            connection.stop()
        self._running.clear()
        await self._tasks.__aexit__(kind, error, trace)

    def apply(self, config: Config) -> None:
        """Makes the running sources those of `config`, at once; readings of unchanged queues stay."""
        groups = _group(config)
        self._readings.set_queues(config.queues)
        for key in self._running.keys() - groups.keys():
            self._running.pop(key).stop()
        for key, queues in groups.items():
            connection = self._running.get(key)
            if connection is not None:
                connection.set_queues(queues)
                continue
            make = partial(config.backends[key.block].source, queues[0].settings, self._context)
            connection = self._running[key] = _Connection(make, self._readings, self._context.clock)
            connection.set_queues(queues)
            connection.start(self._tasks)


def _group(config: Config) -> dict[_Key, list[QueueConfig]]:
    groups: dict[_Key, list[QueueConfig]] = {}
    for queue in config.queues:
        key = _Key(queue.block, config.backends[queue.block].connection(queue.settings))
        groups.setdefault(key, []).append(queue)
    return groups


class _Connection:
    """One source, its queues and its task."""

    def __init__(self, make: Callable[[], Source], readings: Readings, clock: Clock) -> None:
        self._make = make
        self._source: Source | None = None
        self._readings = readings
        self._clock = clock
        self._backoff = Backoff()
        self._queues: Mapping[str, QueueConfig] = {}
        self._patience = 0.0
        self._deadline: asyncio.Timeout | None = None
        self._postponed_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._log = FailureLog(clock)
        self._reason = ""
        self.restarts = 0

    def set_queues(self, queues: Sequence[QueueConfig]) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._patience = patience(queues)
        # a backend that is back is read again within one interval
        self._backoff.limit(
            min(_LONGEST_BACKOFF, *(max(_SHORTEST_BACKOFF, each.interval) for each in queues))
        )
        if self._source is not None:
            self._source.set_queues([queue.for_source() for queue in queues])

    def start(self, tasks: asyncio.TaskGroup) -> None:
        self._task = tasks.create_task(
            supervise(self._run, backoff=self._backoff, on_failure=self._failed, clock=self._clock)
        )

    def stop(self) -> None:
        self._queues = {}  # what it still publishes is no longer its business
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """One life of the source, ended when it has been silent for too long."""
        if self._source is None:
            self._source = self._make()
            self._source.set_queues([queue.for_source() for queue in self._queues.values()])
        try:
            self._postponed_at = asyncio.get_running_loop().time()
            async with asyncio.timeout(self._patience) as self._deadline:
                await self._source.run(self._publish)
        except TimeoutError:
            if self._deadline is not None and self._deadline.expired():
                raise SourceError("the backend has not answered for too long", code="unreachable") from None
            raise
        finally:
            self._deadline = None

    def _publish(self, news: Reading | ReadFailure) -> None:
        if news.queue not in self._queues:
            return
        self._postpone()
        if isinstance(news, Reading):
            self._backoff.reset()
            self._reason = ""
        self._log.note(news, self._readings.publish(news))

    def _postpone(self) -> None:
        """Moves the deadline, but not for each of a thousand queues in one tick."""
        now = asyncio.get_running_loop().time()
        if now - self._postponed_at <= _DEADLINE_STEP or self._deadline is None or self._deadline.expired():
            return
        self._postponed_at = now
        self._deadline.reschedule(now + self._patience)

    def _failed(self, error: Exception, delay: float) -> None:
        self.restarts += 1
        reason, detail, code = _explain(error)
        if reason != self._reason:
            self._reason = reason
            unexpected = None if isinstance(error, SourceError) else error
            log.warning(
                "source failed",
                queues=len(self._queues),
                first=next(iter(self._queues), ""),
                reason=reason,
                detail=detail,
                retry_in=round(delay, 3),
                exc_info=unexpected,
            )
        now = self._clock.time()
        for queue in self._queues:
            self._readings.publish(ReadFailure(queue=queue, at=now, reason=reason, detail=detail, code=code))


def _explain(error: Exception) -> tuple[str, str, FailureCode]:
    """What people read, what the log says, and the word for metrics."""
    if isinstance(error, SourceError):
        return str(error), error.detail, error.code
    return "an internal error of its source; the log has it", f"{type(error).__name__}: {error}", "error"


def patience(queues: Iterable[QueueConfig]) -> float:
    """Seconds without a word from any queue of a source after which it is started again."""
    return max(
        max(_MOST_PATIENT * float(queue.options.max_age), 3 * (queue.interval + float(queue.options.timeout)))
        for queue in queues
    )
