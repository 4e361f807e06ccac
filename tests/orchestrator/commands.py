"""The `ottoscaler` command as a process of its own, with what it said and how it ended."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
_LONGEST = 60.0
_OURS = ("GRPC_", "REDIS_", "OTTO_", "NAMESPACE", "WORKER_", "LOG_")
"""Variables of the caller that must not decide what a test shows."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its JSON objects, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """`async with Command("scale", "status") as command:`; killed at the end if it still runs."""

    def __init__(self, *arguments: str | Path, **environ: str) -> None:
        self._arguments = [str(each) for each in arguments]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        self._environ = kept | environ
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def line(self, *, within: float = _LONGEST) -> str:
        """The next line of its output; empty at the end."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), within)).decode().rstrip("\n")

    async def until_line(self, text: str) -> str:
        """The next line that contains `text`."""
        while text not in (line := await self.line()):
            assert line, f"it ended without saying {text!r}: {(await self.end()).err}"
        return line

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    async def end(self) -> Ended:
        """Waits for its end; `out` is what was not read before."""
        out, err = await asyncio.wait_for(self.process.communicate(), _LONGEST)
        return Ended(self.process.returncode or 0, out.decode(), err.decode())

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ottoscaler",
            *self._arguments,
            cwd=ROOT,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


async def ottoscaler(*arguments: str | Path, **environ: str) -> Ended:
    """Runs a command to its end."""
    async with Command(*arguments, **environ) as command:
        return await command.end()
