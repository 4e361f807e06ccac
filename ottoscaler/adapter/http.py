"""Plain HTTP beside the API: Prometheus, people and probes.

Liveness says that the process works, readiness that the API can answer. Neither looks at a backend: a
pod that a broken queue makes unready would take the cluster's discovery with it. The listener is the API's
own, with its limits; no second HTTP stack is loaded for a few pages.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from aiohttp.http import RawRequestMessage
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.queue_telemetry import expose
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.status import status_json, waiting_jobs
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.apiservice.identity import Connection
from ottoscaler.apiservice.limits import DEFAULT_LIMITS
from ottoscaler.apiservice.listener import Listener
from ottoscaler.apiservice.response import Headers, Response, text_response
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger

log = get_logger("pages")

_LEAVE_SECONDS = 1.0
_NO_STORE: Headers = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_PAGE: Headers = (*_NO_STORE, ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
_ALIVE = text_response(200, "ok\n", headers=_NO_STORE)
_TO_STATUS = Response(302, b"", headers=(*_NO_STORE, ("Location", "/status")))
_ONLY_GET = text_response(405, "only GET is answered\n", headers=(*_NO_STORE, ("Allow", "GET, HEAD")))
_FAILED = text_response(500, "this page failed; the log says why\n", headers=_NO_STORE)
_TOO_SLOW = text_response(503, "this page took too long\n", headers=_NO_STORE)

Page = Callable[[RawRequestMessage, str], Awaitable[Response]]
"""Makes an answer of a request and its query."""


class HttpServer(Listener):
    """The pages, from entering the context to leaving it; `port` is the one that was bound."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        readings: Readings,
        reload: ReloadStatus,
        registry: CollectorRegistry,
        not_ready: Callable[[], str | None],
        clock: Clock,
    ) -> None:
        """`host` may be empty (all interfaces); `not_ready` says why the API cannot answer, or None."""
        super().__init__(tls=None, host=host, port=port, limits=DEFAULT_LIMITS, leave_seconds=_LEAVE_SECONDS)
        self._readings = readings
        self._reload = reload
        self._registry = registry
        self._not_ready = not_ready
        self._clock = clock
        self._at_once: Mapping[str, Callable[[], Response]] = {
            "/": lambda: _TO_STATUS,
            "/healthz": lambda: _ALIVE,
            "/livez": lambda: _ALIVE,
            "/readyz": self._ready,
        }
        self._later: Mapping[str, Page] = {
            "/metrics": self._metrics,
            "/metrics/waiting-jobs": self._waiting_jobs,
            "/status": self._status,
        }

    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        if message.method not in {"GET", "HEAD"}:
            return _ONLY_GET
        path = message.path.partition("?")[0]
        if path in self._later:
            return None
        if path in self._at_once:
            return self._at_once[path]()
        pages = ", ".join(sorted([*self._at_once, *self._later]))
        return text_response(404, f"no such page; there are {pages}\n", headers=_NO_STORE)

    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        path, _, query = message.path.partition("?")
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return await self._later[path](message, query)
        except TimeoutError:
            return _TOO_SLOW
        except Exception:  # the supervisor of requests: one that fails must not take its neighbours along
            log.exception("a page failed", path=path)
            return _FAILED

    def refused(self, status: int) -> None:
        log.debug("refused what is no request", status=status)

    def _moment(self) -> Moment:
        return Moment(self._clock.time(), self._clock.monotonic())

    def _ready(self) -> Response:
        reason = self._not_ready()
        return _ALIVE if reason is None else text_response(503, f"{reason}\n", headers=_NO_STORE)

    async def _metrics(self, message: RawRequestMessage, query: str) -> Response:
        queues = await expose(self._readings, self._clock)
        body = generate_latest(self._registry) + queues
        return Response(200, body, content_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)

    async def _waiting_jobs(self, message: RawRequestMessage, query: str) -> Response:
        queue = parse_qs(query).get("queue", [None])[0]
        answer = waiting_jobs(self._readings, queue, self._moment())
        return _json(answer.body, status=answer.status)

    async def _status(self, message: RawRequestMessage, query: str) -> Response:
        # a page of thousands of queues takes tens of milliseconds, in which the API must go on answering
        wants_html = "text/html" in message.headers.get("Accept", "")
        if wants_html and parse_qs(query).get("format") != ["json"]:
            page = await asyncio.to_thread(self._page)
            return Response(200, page.encode(), content_type="text/html; charset=utf-8", headers=_PAGE)
        return _json(await asyncio.to_thread(status_json, self._readings, self._reload, self._moment()))

    def _page(self) -> str:
        from ottoscaler.adapter.status_page import status_page

        return status_page(self._readings, self._reload, self._moment())


def _json(body: Any, *, status: int = 200) -> Response:
    text = msgspec.json.format(msgspec.json.encode(body), indent=2)
    return Response(status, text + b"\n", content_type="application/json", headers=_NO_STORE)
