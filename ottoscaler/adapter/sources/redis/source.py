"""Reads all queues of one Redis at their intervals.

What was learned of the queues lives and dies with `run`, so after a failure nothing is believed that was
not measured since.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ottoscaler.adapter.sources.base import Publish, Queue, SourceContext, SourceError
from ottoscaler.adapter.sources.redis.problems import ServerProblem
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.adapter.sources.redis.tick import Surveys, Tick
from ottoscaler.adapter.sources.redis.topology import Topology, open_topology
from ottoscaler.adapter.sources.schedule import Schedule
from ottoscaler.runtime.redis import RedisConnection

_CONNECT_TIMEOUT = 5.0


class RedisSource:
    """One Redis and the queues on it; see `Source`."""

    def __init__(self, connection: RedisConnection, context: SourceContext) -> None:
        self._connection = connection
        self._clock = context.clock
        self._environ = context.environ
        self._queues: dict[str, Queue[RedisSettings]] = {}
        self._surveys = Surveys(context.count)
        self._schedule = Schedule()
        self._changed = asyncio.Event()

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        anew = {queue.name for queue in queues if not queue.measures_as(self._queues.get(queue.name))}
        self._queues = {queue.name: queue for queue in queues}
        self._surveys.keep(self._queues)
        self._schedule.plan(
            {queue.name: queue.interval for queue in queues}, now=self._clock.monotonic(), anew=anew
        )
        self._changed.set()

    async def run(self, publish: Publish) -> None:
        self._surveys.clear()
        self._schedule.plan({}, now=self._clock.monotonic())
        self.set_queues(list(self._queues.values()))
        timeouts = [queue.timeout for queue in self._queues.values()]
        topology = open_topology(
            self._connection,
            environ=self._environ,
            clock=self._clock,
            connect_timeout=min([_CONNECT_TIMEOUT, *timeouts]),
        )
        try:
            while True:
                self._changed.clear()
                due = [self._queues[name] for name in self._schedule.take(now=self._clock.monotonic())]
                for timeout, batch in groupby(sorted(due, key=_timeout_of), key=_timeout_of):
                    await self._measure(list(batch), timeout, topology, publish)
                await self._rest()
        finally:
            await topology.close()

    async def _rest(self) -> None:
        """Until the next tick, or until the queues change."""
        wait = self._schedule.wait(now=self._clock.monotonic())
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _measure(
        self, queues: Sequence[Queue[RedisSettings]], timeout: float, topology: Topology, publish: Publish
    ) -> None:
        """One reading of each of `queues`. Raises `SourceError` when the server, or all of them, failed."""
        tick = Tick(
            topology,
            self._surveys,
            publish,
            clock=self._clock,
            timeout=timeout,
            is_configured=lambda queue: queue.measures_as(self._queues.get(queue.name)),
        )
        try:
            await tick.run(queues)
        except ServerProblem as error:
            problem = error.problem
            raise SourceError(problem.reason, detail=problem.detail, code=problem.code) from error


def _timeout_of(queue: Queue[RedisSettings]) -> float:
    return queue.timeout
