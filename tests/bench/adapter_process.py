"""The real adapter and the servers it reads, as processes of their own, for figures that mean something."""

import asyncio
import contextlib
import json
import os
import re
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from ottoscaler.apiservice.quantity import parse_quantity
from tests.ports import free_port

TOKEN = "a-token-for-the-benchmark"
_API = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
_MIB = 1024


@dataclass(frozen=True, slots=True)
class Process:
    """What `/proc` says of a process."""

    pid: int

    @classmethod
    def own(cls) -> Self:
        """This process."""
        return cls(os.getpid())

    def rss_mib(self) -> float:
        """Resident now."""
        return self._status("VmRSS") / _MIB

    def peak_rss_mib(self) -> float:
        """Resident at most, ever."""
        return self._status("VmHWM") / _MIB

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


class Adapter:
    """An adapter in standalone mode, asked through its API."""

    def __init__(self, process: Process, session: aiohttp.ClientSession, port: int) -> None:
        """`session` carries the token."""
        self.process = process
        self._session = session
        self._url = f"https://127.0.0.1:{port}{_API}"

    async def ask(self, queue: str, metric: str = "queue_waiting") -> tuple[int, dict[str, Any]]:
        """Status and body of one answer; status 0 when there was none."""
        try:
            async with self._session.get(
                f"{self._url}/{metric}", params={"labelSelector": f"queue={queue}"}
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
            return 0, {"message": repr(error)}

    async def value(self, queue: str, metric: str = "queue_waiting") -> int | None:
        """The value that is served; None when none is."""
        status, body = await self.ask(queue, metric)
        return parse_quantity(body["items"][0]["value"]).milli() // 1000 if status == 200 else None

    async def becomes(self, queue: str, value: int, *, within: float = 60.0, every: float = 0.001) -> float:
        """Waits until `value` is served; the moment (monotonic) at which the answer had come."""
        deadline = time.monotonic() + within
        while await self.value(queue) != value:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{queue} did not become {value}: {await self.ask(queue)}")
            await asyncio.sleep(every)
        return time.monotonic()


def write_configuration(configuration: dict[str, Any], directory: Path, *, port: int, http: int) -> Path:
    """The file `adapter.json` in `directory`, with addresses of loopback added."""
    file = directory / "adapter.json"
    whole = configuration | {
        "api": {"address": f"127.0.0.1:{port}"},
        "http": {"address": f"127.0.0.1:{http}"},
        "log": {"level": "error"},
    }
    file.write_text(json.dumps(whole))
    return file


def client_session(timeout: float = 10.0) -> aiohttp.ClientSession:
    """A session with the token, for any certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=aiohttp.ClientTimeout(total=timeout),
    )


_PROGRAM = ("-m", "ottoscaler.cli.main", "adapter", "--standalone", "--config")


@contextlib.asynccontextmanager
async def adapter(
    configuration: dict[str, Any],
    directory: Path,
    *,
    program: tuple[str, ...] = _PROGRAM,
    timeout: float = 10.0,
    **environ: str,
) -> AsyncIterator[Adapter]:
    """A running adapter with `configuration`, to which addresses are added; it is asked with `timeout`.

    `program` is given to Python, and the configuration's file to it.
    """
    port, http = free_port(), free_port()
    file = write_configuration(configuration, directory, port=port, http=http)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        str(file),
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OTTOSCALER_TOKEN": TOKEN, "no_proxy": "127.0.0.1", **environ},
    )
    try:
        async with client_session(timeout) as session:
            running = Adapter(Process(child.pid), session, port)
            deadline = time.monotonic() + 30
            while (await running.ask("nobody"))[0] == 0:
                if child.returncode is not None or time.monotonic() > deadline:
                    raise RuntimeError("the adapter did not start")
                await asyncio.sleep(0.02)
            yield running
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


@contextlib.asynccontextmanager
async def rtdb_process(*arguments: str) -> AsyncIterator[tuple[str, Process]]:
    """The Realtime Database of the tests as a process: its address, and itself."""
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.rtdb", *arguments, str(port)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        await child.stdout.readline()
        yield f"127.0.0.1:{port}", Process(child.pid)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


@contextlib.asynccontextmanager
async def load_process(*arguments: str) -> AsyncIterator[None]:
    """`tests.bench.load` with these arguments, until the block ends."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.load", *arguments)
    try:
        yield
        if child.returncode is not None:
            raise RuntimeError("the load ended before the measurement")
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()
