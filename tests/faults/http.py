"""An HTTP proxy whose answers go wrong one at a time, each for a request that asks for a certain thing."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

_PASSED_ON = ("Content-Type", "Date")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFault:
    """What becomes of one answer."""

    mentions: str
    """Only of requests whose query string holds this."""
    status: int = 200
    spoil: Callable[[bytes], bytes] = bytes
    """Makes another body of the true one."""


class HttpProxy:
    """`tokens` says which bearer token a request that mentions something must have."""

    def __init__(self, upstream: str, tokens: Mapping[str, str]) -> None:
        self.port = 0
        self._upstream = upstream
        self._tokens = tokens
        self._faults: list[HttpFault] = []

    def add(self, *faults: HttpFault) -> None:
        """Faults of answers still to come; each meets the first request that it fits."""
        self._faults.extend(faults)

    def waits_for(self, mention: str) -> bool:
        """Whether a fault of requests that mention this has not happened yet."""
        return any(fault.mentions == mention for fault in self._faults)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["HttpProxy"]:
        """Serves on a free port of loopback until left."""
        async with aiohttp.ClientSession(self._upstream) as session:

            async def serve(request: web.Request) -> web.Response:
                return await self._answer(request, session)

            application = web.Application()
            application.router.add_get("/{path:.*}", serve)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.port = runner.addresses[0][1]
                yield self
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request, session: aiohttp.ClientSession) -> web.Response:
        asked = str(request.rel_url.query)
        wanted = next((token for mention, token in self._tokens.items() if mention in asked), None)
        if wanted is not None and request.headers.get("Authorization") != f"Bearer {wanted}":
            return web.Response(status=401, text="Unauthorized")
        fault = next((fault for fault in self._faults if fault.mentions in asked), None)
        if fault is not None:
            self._faults.remove(fault)
        async with session.get(request.path, params=request.rel_url.query) as answer:
            body = await answer.read()
            headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        if fault is None:
            return web.Response(status=answer.status, body=body, headers=headers)
        return web.Response(status=fault.status, body=fault.spoil(body), headers=headers)
