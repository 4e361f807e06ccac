"""The real `prometheus`, on a free loopback port, scraping an exporter whose page the test writes."""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.ports import free_port
from tests.waiting import until

PROMETHEUS = "/usr/bin/prometheus"


class Scraped:
    """A Prometheus and the page that it scrapes every half second."""

    def __init__(self) -> None:
        self.page = ""
        """What the exporter shows, in the text format."""
        self.port = free_port()
        self._shown = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def knows(self, query: str) -> None:
        """Returns when `query` finds something."""

        async def found() -> bool:
            try:
                async with aiohttp.ClientSession() as session:
                    answer = await session.get(f"{self.url}/api/v1/query", params={"query": query})
                    return bool((await answer.json())["data"]["result"])
            except aiohttp.ClientError:
                return False

        await until(found, within=30.0, every=0.05, what=f"Prometheus finds {query}")

    async def show(self, page: str) -> None:
        """Replaces the page, and returns when Prometheus has it."""
        self._shown += 1
        self.page = f"{page}\npage {self._shown}\n"
        await self.knows(f"page == {self._shown}")


@asynccontextmanager
async def scraping(*arguments: str, page: str = "") -> AsyncIterator[Scraped]:
    """A server with its exporter, until the block ends; `arguments` are as on the command line."""
    scraped = Scraped()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=scraped.page, headers={"Content-Type": "text/plain; version=0.0.4"})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    exporter = web.AppRunner(application, access_log=None)
    await exporter.setup()
    try:
        site = web.TCPSite(exporter, "127.0.0.1", 0)
        await site.start()
        with tempfile.TemporaryDirectory(prefix="prometheus-") as directory:
            host, port = exporter.addresses[0][:2]
            async with process(Path(directory), scraped.port, f"{host}:{port}", arguments):
                await scraped.show(page)
                yield scraped
    finally:
        await exporter.cleanup()


@asynccontextmanager
async def process(
    directory: Path, port: int, exporter: str, arguments: tuple[str, ...] = ()
) -> AsyncIterator[None]:
    """The server itself, from its start (it listens a little later) to its end."""
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs: [{{job_name: queues, static_configs: [{{targets: ['{exporter}']}}]}}]\n"
    )
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                PROMETHEUS,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                *arguments,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            server.terminate()
            try:
                await asyncio.to_thread(server.wait, 15.0)
            except subprocess.TimeoutExpired:
                server.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(server.wait, 5.0)
