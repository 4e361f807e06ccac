"""Sends one worker's lines to the handler: in order, each until it was taken.

One stream a worker, and one entry under way on it. The contract lets the handler answer RETRY to any
entry; with more under way, those behind it would overtake it. A stream that breaks while an entry is
unanswered sends that entry again, under the same number.
"""

import asyncio
from collections.abc import Callable
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
_IDLE = 20.0
"""A stream with nothing to send is closed after so long, to make room for others."""
_STRIKES = 5
"""Streams that may break over one entry before it is given up."""
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})

_Stream = grpc.aio.StreamStreamCall[pb.WorkerLogEntry, pb.LogForwardResponse]


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
        """Until the buffer is closed and empty."""
        while await self._buffer.next() is not None:
            await self._link.ready()
            async with self._streams:
                await self._session()

    async def _session(self) -> None:
        """One stream, until it breaks, is idle, or there is nothing more to send."""
        stream: _Stream = self._link.stub.ForwardWorkerLogs()
        try:
            while True:
                try:
                    item = await asyncio.wait_for(self._buffer.next(), _IDLE)
                except TimeoutError:
                    break
                if item is None:
                    break
                answer = await self._exchange(stream, item)
                await self._obey(item, answer)
            await stream.done_writing()
            await asyncio.wait_for(self._rest(stream), 2.0)
        except grpc.aio.AioRpcError as error:
            await self._broken(error)
        except (asyncio.InvalidStateError, TimeoutError) as error:
            self._link.failed(error)
        finally:
            stream.cancel()

    async def _broken(self, error: grpc.aio.AioRpcError) -> None:
        """A handler that is away is waited for; one that breaks the stream over one entry loses that entry."""
        item = await self._buffer.next()
        if error.code() in _AWAY or item is None:
            self._link.failed(error)
            return
        self._strikes = self._strikes + 1 if self._struck == item.number else 1
        self._struck = item.number
        if self._strikes >= _STRIKES:
            log.warning("the handler refuses a log line", number=item.number, error=error.details())
            self._telemetry.log_lines.labels("dropped_by_handler").inc()
            self._buffer.taken()
            self.on_taken(item)
        else:
            await self._clock.sleep(self._backoff.next())

    async def _exchange(self, stream: _Stream, item: Item) -> pb.LogForwardResponse:
        """Raises `AioRpcError` or `TimeoutError` when there is no answer."""
        async with asyncio.timeout(_ANSWER):
            await stream.write(self._entry(item))
            answer: Any = await stream.read()
        if answer is grpc.aio.EOF:
            raise TimeoutError("the handler ended the stream without an answer")
        self._link.worked()
        response: pb.LogForwardResponse = answer
        return response

    async def _obey(self, item: Item, answer: pb.LogForwardResponse) -> None:
        if answer.status == pb.LogForwardResponse.RETRY:
            self._telemetry.log_lines.labels("retried").inc()
            if answer.throttle_ms <= 0:
                await self._clock.sleep(self._backoff.next())
        else:
            self._backoff.reset()
            self._buffer.taken()
            dropped = answer.status == pb.LogForwardResponse.DROP
            if not item.dropped and not item.reason:
                self._telemetry.log_lines.labels("dropped_by_handler" if dropped else "forwarded").inc()
            self.on_taken(item)
        if answer.throttle_ms > 0:
            await self._clock.sleep(min(answer.throttle_ms, 60_000) / 1000)

    async def _rest(self, stream: _Stream) -> None:
        while await stream.read() is not grpc.aio.EOF:
            pass
