"""The server without sockets: bytes in, bytes out, in one call.

Everyone is allowed everything here, so that every byte reaches the deepest code; what fuzzing looks for
is a crash, a hang, an answer that is no HTTP, a 500.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp.http import RawRequestMessage

from ottoscaler.apiservice.access_log import AccessLog
from ottoscaler.apiservice.handler import Handler
from ottoscaler.apiservice.http_connection import HttpConnection
from ottoscaler.apiservice.identity import Attributes, Connection, Decision, Headers, Identity, User
from ottoscaler.apiservice.limits import Limits
from ottoscaler.apiservice.provider import MetricNotFound, MetricValue, MetricValueList
from ottoscaler.apiservice.request_metrics import RequestMetrics
from ottoscaler.apiservice.response import Response
from ottoscaler.apiservice.routing import Router
from ottoscaler.apiservice.selector import Selector

_SOMEBODY = Identity(User("somebody", ("system:masters",)), "token")


class Values:
    """One metric of two queues."""

    def __init__(self) -> None:
        self._items = [
            MetricValue(metric_name="m", labels={"queue": name}, timestamp=1.0, value_milli=1500)
            for name in ("a", "b")
        ]

    def list_metrics(self) -> Sequence[str]:
        return ("m",)

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        chosen = [item for item in self._items if selector.matches(item.labels)]
        if name != "m" or namespace == "hidden" or not chosen:
            raise MetricNotFound(f'no "{name}" in "{namespace}" matches "{selector}"')
        return MetricValueList(chosen)


class Everybody:
    """Believes and allows everything."""

    def cached(self, _connection: Connection, _headers: Headers) -> Identity | None:
        return _SOMEBODY

    async def authenticate(self, _connection: Connection, _headers: Headers) -> Identity:
        return _SOMEBODY


class Everything:
    """Allows everything."""

    def cached(self, _user: User, _attributes: Attributes) -> Decision | None:
        return Decision(allowed=True)

    async def authorize(self, _user: User, _attributes: Attributes) -> Decision:
        return Decision(allowed=True)


class Service:
    """What connections need of a server."""

    def __init__(self) -> None:
        self.limits = Limits(head_bytes=4096, header_fields=64)
        self.leaving = False
        self.metrics = RequestMetrics()
        self.methods: list[str] = []
        """Of the requests of the newest conversation, in order."""
        router = Router(Values(), readiness={}, liveness={})
        self._handler = Handler(
            router,
            authenticator=Everybody(),
            authorizer=Everything(),
            metrics=self.metrics,
            access_log=AccessLog("none", self.now),
            patience=1.0,
        )

    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        self.methods.append(message.method)
        return self._handler.answer(connection, message)

    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        return await self._handler.answer_later(connection, message)

    def refused(self, status: int) -> None:
        self.metrics.refused(status)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def now(self) -> float:
        return 0.0


class Wire:
    """A channel that keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False

    def write(self, data: bytes) -> None:
        if self.ended:
            raise AssertionError("written after the end")
        self.written += data

    def close(self) -> None:
        self.ended = True

    linger = abort = close

    def pause_reading(self) -> None:
        """Nothing to pause."""

    resume_reading = pause_reading


async def converse(service: Service, chunks: Sequence[bytes]) -> Wire:
    """Feeds `chunks` to a new connection and lets everything that they set off happen."""
    wire = Wire()
    service.methods.clear()
    connection = HttpConnection(service, wire, Connection())
    for chunk in chunks:
        connection.feed(chunk)
        for _ in range(3):
            await asyncio.sleep(0)
    connection.lost()
    return wire
