"""Sends one worker's lines to the handler: in order, each until it was taken.

One stream a worker, and one entry under way on it. The contract lets the handler answer RETRY to any
entry; with more under way, those behind it would overtake it. A stream that breaks while an entry is
unanswered sends that entry again, under the same number.

Workers share a limited number of streams, so a stream is left after a while when others wait for one,
and what goes wrong on one of them (silence, a refusal) is the trouble of that worker alone. Only a
connection that is gone makes all wait together.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from ottoscaler.orchestrator.handler.buffer import Item, LogBuffer
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("handler")

_ANSWER = 30.0
"""Seconds that the handler may take over one entry."""
_LAST_ANSWER = 0.5
"""Seconds for an answer that is under way when we are to stop."""
_TURN = 3.0
"""A stream is left after so long: the server may allow fewer than we do, and others wait without a word."""
_SLICE = 1.0
"""When we know of others who wait, after so long."""
_STRIKES = 5
"""Streams that may break over one entry before it is given up."""
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})

_Stream = grpc.aio.StreamStreamCall[pb.WorkerLogEntry, pb.LogForwardResponse]


class Silent(Exception):
    """No answer came to an entry."""


class Forwarder:
    """Empties one buffer into the handler. `streams` bounds how many are open in all."""

    def __init__(
        self,
        *,
        buffer: LogBuffer,
        entry: Callable[[Item], pb.WorkerLogEntry],
        link: HandlerLink,
        streams: asyncio.Semaphore,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._buffer = buffer
        self._entry = entry
        self._link = link
        self._streams = streams
        self._telemetry = telemetry
        self._clock = clock
        self._backoff = Backoff(initial=0.1, maximum=5.0)
        self._strikes = 0
        self._struck = 0
        self.on_taken: Callable[[Item], None] = lambda item: None
        """Called with each item that the handler took or dropped."""

    async def run(self) -> None:
        """Until the buffer is closed and empty; what is left in it at any other end is discarded."""
        try:
            await self._empty()
        finally:
            self._buffer.discard()

    async def _empty(self) -> None:
        while await self._buffer.next() is not None:
            await self._link.ready()
            async with self._streams:
                pause = await self._session()
            if pause > 0:
                await self._clock.sleep(pause)

    async def _session(self) -> float:
        """One stream, until it breaks or is left; seconds to wait before the next."""
        stream: _Stream = self._link.stub.ForwardWorkerLogs()
        try:
            begun = self._clock.monotonic()
            while (item := await self._next(begun)) is not None:
                pause = self._obey(item, await self._exchange(stream, item))
                if pause > _SLICE and self._streams.locked():
                    return pause
                await self._clock.sleep(pause)
            await stream.done_writing()
            async with asyncio.timeout(2.0):
                await self._rest(stream)
        except grpc.aio.AioRpcError as error:
            return self._broken(error)
        except (Silent, asyncio.InvalidStateError) as error:
            log.debug("the handler does not answer to a log line", error=error)
            return self._backoff.next()
        except TimeoutError:
            pass  # all was answered; the handler only does not end its side
        finally:
            stream.cancel()
        return 0.0

    async def _next(self, begun: float) -> Item | None:
        """What to send; None when the stream should be left."""
        while True:
            passed = self._clock.monotonic() - begun
            if passed >= _TURN or (passed >= _SLICE and self._streams.locked()):
                return None
            try:
                async with asyncio.timeout(_SLICE):  # `wait_for` may lose a cancellation
                    return await self._buffer.next()
            except TimeoutError:
                continue

    def _broken(self, error: grpc.aio.AioRpcError) -> float:
        """A handler that is away is waited for; one that breaks the stream over one entry loses that entry.

        Seconds to wait, without a stream: with nothing unanswered the worker may be quiet for hours.
        """
        if error.code() in _AWAY:
            self._link.failed(error)
            return 0.0
        item = self._buffer.sending
        if item is None:
            return self._backoff.next()
        self._strikes = self._strikes + 1 if self._struck == item.number else 1
        self._struck = item.number
        if self._strikes < _STRIKES:
            return self._backoff.next()
        self._strikes = 0
        log.warning("the handler refuses a log line", number=item.number, error=error.details())
        if not item.is_word:
            self._telemetry.log_lines.labels("dropped_by_handler").inc()
            self._buffer.replace(item.given_up(f"the handler ended the stream over it {_STRIKES} times"))
        else:
            self._buffer.taken()
            self.on_taken(item)
        return 0.0

    async def _exchange(self, stream: _Stream, item: Item) -> pb.LogForwardResponse:
        """Raises `AioRpcError`, or `Silent` when there is no answer."""
        asking = asyncio.ensure_future(self._ask(stream, item))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # We are to stop. The answer that is under way decides whether this entry comes again.
            with suppress(TimeoutError, Silent, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                self._obey(item, await asyncio.wait_for(asking, _LAST_ANSWER))
            raise

    async def _ask(self, stream: _Stream, item: Item) -> pb.LogForwardResponse:
        try:
            async with asyncio.timeout(_ANSWER):
                await stream.write(self._entry(item))
                answer: Any = await stream.read()
        except TimeoutError:
            raise Silent(f"within {_ANSWER:g} s") from None
        if answer is grpc.aio.EOF:
            raise Silent("the handler ended the stream without an answer")
        self._link.worked()
        response: pb.LogForwardResponse = answer
        return response

    def _obey(self, item: Item, answer: pb.LogForwardResponse) -> float:
        """Seconds to wait before the next entry, or the same one again."""
        throttle = min(max(answer.throttle_ms, 0), 60_000) / 1000
        if answer.status == pb.LogForwardResponse.RETRY:
            self._telemetry.log_lines.labels("retried").inc()
            return throttle or self._backoff.next()
        self._backoff.reset()
        self._buffer.taken()
        if not item.is_word:
            dropped = answer.status == pb.LogForwardResponse.DROP
            self._telemetry.log_lines.labels("dropped_by_handler" if dropped else "forwarded").inc()
        self.on_taken(item)
        return throttle

    async def _rest(self, stream: _Stream) -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass
