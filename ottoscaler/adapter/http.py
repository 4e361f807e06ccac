"""Plain HTTP beside the API: Prometheus, people and probes.

Liveness says that the process works, readiness that the API can answer. Neither looks at a backend: a
pod that a broken queue makes unready would take the cluster's discovery with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.queue_telemetry import expose
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.status import status_json, status_page, waiting_jobs
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.runtime.clock import Clock

_SHUTDOWN = 1.0
Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]


class HttpServer:
    """Serves from entering the context to leaving it; `port` is the one that was bound."""

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
        self._host = host
        self._port = port
        self._readings = readings
        self._reload = reload
        self._registry = registry
        self._not_ready = not_ready
        self._clock = clock
        self._routes: Mapping[str, Handler] = {
            "/": self._index,
            "/healthz": self._live,
            "/livez": self._live,
            "/metrics": self._metrics,
            "/metrics/waiting-jobs": self._waiting_jobs,
            "/readyz": self._ready,
            "/status": self._status,
        }
        self._runner = web.ServerRunner(
            web.Server(self._handle, access_log=None, keepalive_timeout=30.0), shutdown_timeout=_SHUTDOWN
        )

    @property
    def port(self) -> int:
        """The port that is served, also when the configuration said 0."""
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host or None, self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = self._routes.get(request.path)
        if handler is None:
            return web.Response(
                status=404, text=f"no such page; there are {', '.join(sorted(self._routes))}\n"
            )
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="only GET is answered\n", headers={"Allow": "GET, HEAD"})
        response = await handler(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _moment(self) -> Moment:
        return Moment(self._clock.time(), self._clock.monotonic())

    async def _index(self, request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": "/status"})

    async def _live(self, request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.BaseRequest) -> web.Response:
        reason = self._not_ready()
        return web.Response(text="ok\n") if reason is None else web.Response(status=503, text=f"{reason}\n")

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        queues = await expose(self._readings, self._clock)
        return web.Response(
            body=generate_latest(self._registry) + queues, headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _waiting_jobs(self, request: web.BaseRequest) -> web.Response:
        answer = waiting_jobs(self._readings, request.rel_url.query.get("queue"), self._moment())
        return _json(answer.body, status=answer.status)

    async def _status(self, request: web.BaseRequest) -> web.Response:
        # a page of thousands of queues takes tens of milliseconds, in which the API must go on answering
        if "text/html" in request.headers.get("Accept", "") and request.rel_url.query.get("format") != "json":
            page = await asyncio.to_thread(status_page, self._readings, self._reload, self._moment())
            return web.Response(
                text=page,
                content_type="text/html",
                headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
            )
        return _json(await asyncio.to_thread(status_json, self._readings, self._reload, self._moment()))


def _json(body: Any, *, status: int = 200) -> web.Response:
    text = msgspec.json.format(msgspec.json.encode(body), indent=2)
    return web.Response(status=status, body=text + b"\n", content_type="application/json")
