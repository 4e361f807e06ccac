"""The adapter as people start it: a process with a configuration file and a printed token."""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from ottoscaler.adapter.client import MetricsClient
from tests.waiting import until

COMMAND = (sys.executable, "-m", "ottoscaler")


class Finished(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


async def ottoscaler(*arguments: str | Path, environ: Mapping[str, str], within: float = 30.0) -> Finished:
    """Runs the command to its end."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(process.returncode or 0, out.decode(), err.decode())


class Adapter:
    """A running adapter."""

    def __init__(self, process: asyncio.subprocess.Process, environ: Mapping[str, str]) -> None:
        self.process = process
        self.environ = environ
        self.log: list[dict[str, Any]] = []
        self.access: list[str] = []
        """The arguments with which `ottoscaler metrics` reaches it."""
        self.http = ""

    async def values(
        self, selector: str = "", *, metric: str = "queue_demand", namespace: str = "default"
    ) -> list[str]:
        """The values as the API spells them. Raises `ClientError`."""
        server, ca_file, token = self.access[1], Path(self.access[3]), self.access[5]
        async with MetricsClient.direct(server, token=token, ca_file=ca_file) as client:
            answer = await client.read(metric, namespace=namespace, selector=selector)
        return [item["value"] for item in answer["items"]]

    async def get(self, path: str) -> tuple[int, str]:
        """A page of the plain HTTP port."""
        async with aiohttp.request("GET", f"{self.http}{path}") as answer:
            return answer.status, await answer.text()

    async def status(self) -> dict[str, Any]:
        _, text = await self.get("/status")
        found: dict[str, Any] = json.loads(text)
        return found

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log's lines that say `event`."""
        return [line for line in self.log if line.get("event") == event]

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def running(config: Path | None, environ: Mapping[str, str]) -> AsyncIterator[Adapter]:
    """Starts `ottoscaler adapter --standalone` and waits until it serves; ends it if the test did not.

    Without `config` the environment has to say everything.
    """
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "adapter",
        *(("--config", config) if config is not None else ()),
        "--standalone",
        env={**environ, "LOG_FORMAT": "json"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    adapter = Adapter(process, environ)
    reader = asyncio.create_task(_read_log(adapter))
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert line, [entry.get("event") for entry in adapter.log]
        adapter.access = shlex.split(line)[4:]
        (serving,) = await until(lambda: adapter.events("serving"))
        adapter.http = f"http://127.0.0.1:{serving['http']}"
        yield adapter
    finally:
        if process.returncode is None:
            await adapter.terminate()
        await reader


async def _read_log(adapter: Adapter) -> None:
    assert adapter.process.stderr is not None
    async for line in adapter.process.stderr:
        try:
            adapter.log.append(json.loads(line))
        except ValueError:
            adapter.log.append({"event": line.decode().rstrip()})
