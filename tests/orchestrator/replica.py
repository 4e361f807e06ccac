"""One orchestrator as a process of its own, configured by a file, killed or ended like any other."""

import asyncio
import os
import signal
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.ports import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]


class Replica:
    """`async with Replica(directory, settings) as replica:` runs until the end of the block.

    `settings` is the configuration as a document; addresses are chosen here and stay over restarts.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], *, name: str = "replica-1") -> None:
        self.name = name
        self.grpc_port = free_port()
        self.http_port = free_port()
        self._directory = directory
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self.restarts = -1

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def log(self) -> str:
        """What it has written, over all its lives."""
        return (self._directory / f"{self.name}.log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *, wait: bool = True) -> None:
        """Starts it; with `wait` returns when it is ready."""
        config = self._directory / f"{self.name}.yaml"
        addresses = {
            "grpc": {"address": f"127.0.0.1:{self.grpc_port}", **self._settings.get("grpc", {})},
            "http": {"address": f"127.0.0.1:{self.http_port}"},
        }
        config.write_bytes(msgspec.yaml.encode(self._settings | addresses))
        self.restarts += 1
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ottoscaler",
                "orchestrator",
                "--config",
                str(config),
                "--identity",
                self.name,
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            await until(self._ready, within=30, what=f"{self.name} is ready")

    async def _ready(self) -> bool:
        if not self.running:
            raise AssertionError(f"{self.name} has ended:\n{self.log[-4000:]}")
        status, _ = await self.get("/readyz")
        return status == 200

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one of its pages; status 0 when nobody answers."""

        def ask() -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()
            except OSError:
                return 0, b""

        return await asyncio.to_thread(ask)

    async def status(self) -> dict[str, Any]:
        """Its status page."""
        _, body = await self.get("/status")
        result: dict[str, Any] = msgspec.json.decode(body) if body else {}
        return result

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples of that very name, with those labels."""
        _, body = await self.get("/metrics")
        lines = [line for line in body.decode().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        for key, value in labels.items():
            lines = [line for line in lines if f'{key}="{value}"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    @property
    def rss(self) -> float:
        """MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def kill(self) -> None:
        """As `kill -9` does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._process is not None:
            await self._process.wait()

    async def end(self, *, within: float = 30.0) -> int:
        """By SIGTERM; the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), within)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"── {self.name}\n{self.log[-30000:]}")
        await self.kill()
