"""The adapter in a process of its own whose hours pass in minutes, while sockets and servers stay real.

    python -m tests.soak.hurried SPEED CONFIGURATION

Time that jumps to the next timer (`looptime`) cannot wait for another process; time that merely runs faster
can. Every timer of the adapter, every age, interval, keep-alive and back-off of it is of this loop; only what
the servers do takes as long as it does, and seems to the adapter to take so many times longer.

Nothing but the adapter is in this process, so that its memory is the adapter's. What can be told only from
inside is written to `counts.json` beside the configuration.
"""

import asyncio
import json
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import cast

from ottoscaler.adapter.options import Options
from ottoscaler.adapter.process import run
from tests.waiting import until

COUNTS = "counts.json"
_EVERY = 60.0
"""Seconds of the loop between two counts."""


class _HurriedSelector(selectors.DefaultSelector):
    """Waits for a share of what it is asked to."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(
            None if timeout is None else timeout / self.speed
        )
        return found


class CompressedLoop(asyncio.SelectorEventLoop):
    """Its clock runs `speed` times as fast as the machine's, from `hurry` on."""

    def __init__(self) -> None:
        self._hurried = _HurriedSelector()
        self._real = self._virtual = time.monotonic()
        super().__init__(self._hurried)

    def time(self) -> float:
        return self._virtual + (time.monotonic() - self._real) * self._hurried.speed

    def hurry(self, speed: float) -> None:
        """From now on."""
        self._virtual, self._real = self.time(), time.monotonic()
        self._hurried.speed = speed


class CompressedClock:
    """Both clocks follow the running loop; the wall clock begins at the real time."""

    def __init__(self) -> None:
        self._ahead = time.time() - asyncio.get_running_loop().time()

    def time(self) -> float:
        return self.monotonic() + self._ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _serve(speed: float, file: Path) -> None:
    """Until the adapter is told to end."""
    async with asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(_hurry(speed, file))
        await run(Options(config=file, standalone=True), clock=CompressedClock())
        beside.cancel()


async def _hurry(speed: float, file: Path) -> None:
    """Lets time run once the adapter answers, and counts from then on."""
    port = int(json.loads(file.read_text())["api"]["address"].rpartition(":")[2])
    await until(lambda: _answers(port), what="the adapter answers")
    cast("CompressedLoop", asyncio.get_running_loop()).hurry(speed)
    counts, new = file.with_name(COUNTS), file.with_name(f"{COUNTS}.new")
    while True:
        new.write_text(json.dumps({"tasks": len(asyncio.all_tasks()), "blocks": sys.getallocatedblocks()}))
        new.replace(counts)
        await asyncio.sleep(_EVERY)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=CompressedLoop) as runner:
        runner.run(_serve(float(sys.argv[1]), Path(sys.argv[2])))
