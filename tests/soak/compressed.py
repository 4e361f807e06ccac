"""A loop whose hours pass in minutes, while sockets and servers stay real.

Time that jumps to the next timer (`looptime`) cannot wait for another process; time that merely runs faster
can. Every timer of the adapter, every age, interval, keep-alive and back-off of it is of this loop; only what
the servers do takes as long as it does, and seems to the adapter to take so many times longer.
"""

import asyncio
import random
import selectors
import socket
import time
import tracemalloc
from pathlib import Path
from typing import Any

from ottoscaler.adapter.options import Options
from ottoscaler.adapter.process import run
from tests.bench.adapter_process import Adapter, Process, client_session, free_port, write_configuration
from tests.soak.backends import backends
from tests.soak.run import Outcome, Pace, Soak
from tests.waiting import until

_MIB = 1024 * 1024
_PATIENT = {"interval": "30s", "timeout": "2m", "maxAge": "30m"}
"""What the servers do takes as long as it does, and this process has one core at most."""


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


def soak(directory: Path, *, seed: int, pace: Pace, speed: float) -> tuple[Outcome, int, int]:
    """The whole adapter in this process; what happened, and its tasks at the first and the last sample."""
    with asyncio.Runner(loop_factory=CompressedLoop) as runner:
        return runner.run(_soak(directory, seed=seed, pace=pace, speed=speed))


async def _soak(directory: Path, *, seed: int, pace: Pace, speed: float) -> tuple[Outcome, int, int]:
    loop: Any = asyncio.get_running_loop()
    rng, port, tasks = random.Random(seed), free_port(), []

    def allocated() -> float:
        tasks.append(len(asyncio.all_tasks()))
        return tracemalloc.get_traced_memory()[0] / _MIB

    async with backends(rng, compressed=True) as servers, client_session(600.0) as session:
        queues = [queue | _PATIENT for backend in servers for queue in backend.queues()]
        file = write_configuration({"queues": queues}, directory, port=port, http=free_port())
        serving = asyncio.create_task(run(Options(config=file, standalone=True), clock=CompressedClock()))
        try:
            await until(lambda: _answers(port), what="the adapter answers")
            loop.hurry(speed)
            tracemalloc.start()
            adapter = Adapter(Process.own(), session, port)
            outcome = await Soak(adapter, file, servers, rng, pace, extra=allocated).run()
        finally:
            tracemalloc.stop()
            loop.hurry(1.0)
            serving.cancel()
            await asyncio.wait([serving])
    return outcome, tasks[0], tasks[-1]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
