"""Plain HTTP for people, Prometheus and probes: a few fixed paths, GET only."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ottoscaler.runtime.config import split_address

_SHUTDOWN = 1.0
Page = Callable[[web.BaseRequest], Awaitable[web.Response]]


class Pages:
    """Serves `routes` from entering the context to leaving it; `port` is the one that was bound."""

    def __init__(self, address: str, routes: Mapping[str, Page]) -> None:
        """Raises `ValueError` when `address` is none."""
        self._host, self._port = split_address(address)
        self._routes = routes
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
        page = self._routes.get(request.path)
        if page is None:
            return web.Response(
                status=404, text=f"no such page; there are {', '.join(sorted(self._routes))}\n"
            )
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="only GET is answered\n", headers={"Allow": "GET, HEAD"})
        response = await page(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


async def live(request: web.BaseRequest) -> web.Response:
    """The process works."""
    return web.Response(text="ok\n")


def ready(reason: Callable[[], str | None]) -> Page:
    """200, or 503 with what `reason()` says is missing."""

    async def page(request: web.BaseRequest) -> web.Response:
        missing = reason()
        return web.Response(text="ok\n") if missing is None else web.Response(status=503, text=f"{missing}\n")

    return page


def prometheus(registry: CollectorRegistry) -> Page:
    """All metrics, in the format that is asked for."""

    async def page(request: web.BaseRequest) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # thousands of lines take tens of milliseconds, in which other things must go on
        body = await asyncio.to_thread(encode, registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return page


def json_response(body: Any, *, status: int = 200) -> web.Response:
    """Indented, for people who look."""
    text = msgspec.json.format(msgspec.json.encode(body), indent=2)
    return web.Response(status=status, body=text + b"\n", content_type="application/json")
