"""What listens: connections with their limits and deadlines, and a way to leave that fails nobody.

The external-metrics API and the plain pages beside it are listeners that differ in what they answer.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from time import monotonic
from types import TracebackType
from typing import Any, Self

from aiohttp.http import RawRequestMessage

from ottoscaler.apiservice.channels import PlainChannel, Tls, TlsChannel
from ottoscaler.apiservice.identity import Connection
from ottoscaler.apiservice.limits import Limits
from ottoscaler.apiservice.response import Response
from ottoscaler.runtime.log import get_logger

log = get_logger("apiservice")

_SWEEPS = 4
"""Looks at the connections' deadlines in the time of the shortest of them; at most one a second is due."""


class Listener(ABC):
    """Serves HTTP until its block is left; without `tls`, plain.

    Leaving the block closes the listener, lets requests in flight finish, and returns within
    `leave_seconds`.
    """

    def __init__(
        self, *, tls: Tls | None, host: str, port: int, limits: Limits, leave_seconds: float
    ) -> None:
        self.limits = limits
        self.leaving = False
        self._tls = tls
        self._host = host
        self._port = port
        self._leave_seconds = leave_seconds
        self._channels: dict[PlainChannel, None] = {}  # oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    @abstractmethod
    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        """The answer when memory suffices for it; None: ask `answer_later`. Does not raise."""

    @abstractmethod
    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        """The answer, whatever it takes. Does not raise."""

    @abstractmethod
    def refused(self, status: int) -> None:
        """A request that never became one was answered with `status`."""

    def connected(self, connections: int) -> None:  # noqa: B027 - not every listener keeps count
        """So many connections are open now."""

    async def __aenter__(self) -> Self:
        """Listens. Raises `OSError` when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._channel, self._host, self._port, backlog=1024)
        self._sweep()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.begin_to_leave()
        if self._listener is not None:
            self._listener.close()
        for channel in tuple(self._channels):
            channel.finish()
        try:
            async with asyncio.timeout(self._leave_seconds):
                await self._emptied()
        except TimeoutError:
            for channel in tuple(self._channels):
                channel.abort()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports' own last callbacks
        if self._sweeper is not None:
            self._sweeper.cancel()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens: host and port."""
        sockets = self._listener.sockets if self._listener is not None else ()
        return tuple(socket.getsockname()[:2] for socket in sockets)

    @property
    def port(self) -> int:
        """The port; of the first address when there are several."""
        return self.addresses[0][1]

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._channels)

    def begin_to_leave(self) -> None:
        """Turns `/readyz` bad, so that callers look elsewhere, and goes on answering."""
        self.leaving = True

    def _channel(self) -> PlainChannel:
        return PlainChannel(self) if self._tls is None else TlsChannel(self, self._tls)

    async def _emptied(self) -> None:
        while self._channels:
            self._empty.clear()
            await self._empty.wait()

    def _sweep(self) -> None:
        """Ends the connections whose patience has passed."""
        now = self.now()
        for channel in tuple(self._channels):
            if channel.deadline < now:
                channel.expire()
        limits = self.limits
        shortest = min(
            limits.handshake_seconds, limits.head_seconds, limits.write_seconds, limits.linger_seconds
        )
        self._sweeper = asyncio.get_running_loop().call_later(min(1.0, shortest / _SWEEPS), self._sweep)

    # What connections need of it

    def now(self) -> float:
        """Seconds on a monotonic clock, finer than uvloop's own, which counts milliseconds."""
        return monotonic()

    def opened(self, channel: PlainChannel) -> None:
        """Counts a connection, and makes room for it when there are too many."""
        if len(self._channels) >= self.limits.connections:
            self._evict()
        self._channels[channel] = None
        self.connected(len(self._channels))

    def _evict(self) -> None:
        """Closes the connection that has waited longest, so that holding many open locks nobody out."""
        idle = [channel for channel in self._channels if channel.idle]
        oldest = min(idle or self._channels, key=lambda channel: channel.deadline)
        del self._channels[oldest]  # now, or the next newcomer of this moment would choose it again
        oldest.abort()

    def closed(self, channel: PlainChannel) -> None:
        """Forgets a connection."""
        self._channels.pop(channel, None)
        self.connected(len(self._channels))
        if not self._channels:
            self._empty.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a request that must wait; leaving waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an answer was lost", error=error)
