"""HTTP/1.1 on one connection: bytes in, requests to the service, answers out in order.

aiohttp's C parser (llhttp) decides what a valid request is; everything after it is here, because the
common case needs neither a task nor a request object: a GET whose caller, permission and value are in
memory is answered inside the callback that brought its bytes. Only a request that must wait (a review
by the Kubernetes API) becomes a task, and the requests pipelined behind it wait their turn.
docs/decisions/0020 has the figures.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from ottoscaler.apiservice.date import date_line
from ottoscaler.apiservice.identity import Connection
from ottoscaler.apiservice.limits import Limits
from ottoscaler.apiservice.response import Response, text_response

_PIPELINED = 16
"""Requests that are parsed ahead of the one being answered."""
_NEVER = float("inf")
_CLOSE = b"Connection: close\r\n\r\n"
_END = b"\r\n"

_BAD_REQUEST = text_response(400, "400 Bad Request")
_HEAD_TOO_LARGE = text_response(431, "431 Request Header Fields Too Large")
_TOO_SLOW = text_response(408, "408 Request Timeout")


class Channel(Protocol):
    """What carries the bytes: TLS or a plain socket."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Ends the connection after everything written has gone out."""
        ...

    def linger(self) -> None:
        """Says that nothing more will be written and discards what still comes, for the peer to read the
        last answer before a reset destroys it."""
        ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Service(Protocol):
    """What answers requests."""

    limits: Limits
    leaving: bool
    """True when every answer is the last on its connection."""

    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        """The answer when memory suffices for it; None: ask `answer_later`. Does not raise."""
        ...

    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        """The answer, whatever it takes. Does not raise."""
        ...

    def refused(self, status: int) -> None:
        """A request that never became one was answered with `status`."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work` in a task that the service waits for."""
        ...

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        ...


class _Bodies:
    """What the parser tells of bodies. None is ever read, so nothing has to be held back."""

    connected = True
    _reading_paused = False

    def pause_reading(self) -> None:
        """Bodies end with the connection: see `HttpConnection._write`."""


_BODIES: Any = _Bodies()


class HttpConnection:
    """The requests of one connection. The channel calls `feed`, `expire`, `lost` and the write hooks."""

    __slots__ = (
        "_channel",
        "_complaint",
        "_connection",
        "_ended",
        "_final",
        "_head_bytes",
        "_parser",
        "_queue",
        "_refill",
        "_service",
        "_stalled",
        "_task",
        "deadline",
    )

    def __init__(self, service: Service, channel: Channel, connection: Connection) -> None:
        limits = service.limits
        self._service = service
        self._channel = channel
        self._connection = connection
        self._parser = HttpRequestParser(
            _BODIES,
            asyncio.get_running_loop(),
            2**16,
            max_line_size=limits.head_bytes,
            max_field_size=limits.head_bytes,
            max_headers=limits.header_fields,
            auto_decompress=False,
            max_msg_queue_size=_PIPELINED,
        )
        self._queue: deque[tuple[RawRequestMessage, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._head_bytes = 0  # of a request whose head is not complete
        self._refill = False  # the parser holds requests back until the queue is empty
        self._final = False  # nothing that comes now is a request to answer
        self._complaint: Response | None = None  # to be written when the queue is empty
        self._ended = False
        self._stalled = False
        self.deadline = service.now() + limits.head_seconds
        """When patience ends, on the service's clock; infinity while an answer is being made."""

    @property
    def idle(self) -> bool:
        """Nothing is being read, made or written."""
        return not (self._task or self._queue or self._head_bytes or self._stalled or self._final)

    def feed(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._final:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # whatever it is, the bytes from outside brought it about
            self._refuse(_HEAD_TOO_LARGE if isinstance(error, LineTooLong) else _BAD_REQUEST)
            return
        if not messages:
            self._incomplete(len(data))
            return
        self._head_bytes = 0
        self._refill = len(messages) >= _PIPELINED
        for message, payload in messages:
            last = upgraded or message.should_close or payload is not EMPTY_PAYLOAD
            self._final = self._final or last
            self._queue.append((message, last))
        self._proceed()
        if self._queue:
            self._channel.pause_reading()

    def _incomplete(self, size: int) -> None:
        if not self._head_bytes and size and self._task is None:
            self.deadline = self._service.now() + self._service.limits.head_seconds
        self._head_bytes += size
        if self._head_bytes > self._service.limits.head_bytes:
            self._refuse(_HEAD_TOO_LARGE)

    def _proceed(self) -> None:
        """Answers what is queued, up to the first request that must wait."""
        queue = self._queue
        while queue and self._task is None and not self._stalled and not self._ended:
            message, last = queue.popleft()
            self._parser.message_consumed()
            response = self._service.answer(self._connection, message)
            if response is not None:
                self._write(message, response, last=last)
            else:
                self.deadline = _NEVER
                self._task = self._service.spawn(self._answer_later(message, last=last))
        if queue or self._task is not None or self._stalled or self._ended:
            return
        if self._refill:
            self._refill = False
            asyncio.get_running_loop().call_soon(self.feed, b"")  # others come first
        elif self._complaint is not None:
            self._complain(self._complaint)

    async def _answer_later(self, message: RawRequestMessage, *, last: bool) -> None:
        response = await self._service.answer_later(self._connection, message)
        self._task = None
        if not self._ended:
            self._write(message, response, last=last)
            self._resume()

    def _resume(self) -> None:
        """After a wait."""
        held_back = bool(self._queue)
        self._proceed()
        if held_back and not self._queue and not self._ended:
            self._channel.resume_reading()

    def _write(self, message: RawRequestMessage, response: Response, *, last: bool) -> None:
        service = self._service
        last = last or service.leaving
        body = b"" if message.method == "HEAD" else response.body
        self._channel.write(response.head + date_line() + (_CLOSE if last else _END) + body)
        if last:
            self._end()
        elif not self._stalled:
            patience = service.limits.head_seconds if self._head_bytes else service.limits.idle_seconds
            self.deadline = service.now() + patience

    def _refuse(self, complaint: Response) -> None:
        """What came is no request: says so after the answers that are still due, and ends."""
        self._final = True
        if self._task is not None or self._queue:
            self._complaint = complaint
        else:
            self._complain(complaint)

    def _complain(self, complaint: Response) -> None:
        self._service.refused(complaint.status)
        self._channel.write(complaint.head + date_line() + _CLOSE + complaint.body)
        self._end()

    def _end(self) -> None:
        limits = self._service.limits
        self._final = self._ended = True
        self._queue.clear()
        self.deadline = self._service.now() + (
            limits.write_seconds if self._stalled else limits.linger_seconds
        )
        self._channel.linger()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._ended or self._stalled:
            self._channel.abort()
        elif self._head_bytes:
            self._refuse(_TOO_SLOW)
        else:
            self._final = self._ended = True
            self._channel.close()

    def finish(self) -> None:
        """The service is leaving: an idle connection ends now, any other with its next answer."""
        if self.idle:
            self._final = self._ended = True
            self._channel.close()

    def pause_writing(self) -> None:
        """The peer does not take what is written."""
        self._stalled = True
        self.deadline = self._service.now() + self._service.limits.write_seconds

    def resume_writing(self) -> None:
        """The peer has taken it."""
        limits = self._service.limits
        self._stalled = False
        self.deadline = self._service.now() + (limits.linger_seconds if self._ended else limits.idle_seconds)
        if not self._ended:
            self._resume()

    def lost(self) -> None:
        """The connection is gone: nobody waits for the answer."""
        self._final = self._ended = True
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
