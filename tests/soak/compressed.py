"""Hours in minutes: the adapter in a process whose time runs faster, and here the backends in the same time.

The backends' loop is as fast as the adapter's, so that keep-alives come when the adapter expects them.
"""

import asyncio
import json
import random
from pathlib import Path
from typing import cast

from tests.bench.adapter_process import adapter
from tests.soak.backends import backends
from tests.soak.hurried import COUNTS, CompressedLoop
from tests.soak.run import Inside, Outcome, Pace, Soak

_PATIENT = {"interval": "30s", "timeout": "2m", "maxAge": "30m"}
"""What the servers do takes as long as it does, and the adapter has one core at most."""


def soak(directory: Path, *, seed: int, pace: Pace, speed: float) -> Outcome:
    """What happened."""
    with asyncio.Runner(loop_factory=CompressedLoop) as runner:
        return runner.run(_soak(directory, seed=seed, pace=pace, speed=speed))


async def _soak(directory: Path, *, seed: int, pace: Pace, speed: float) -> Outcome:
    loop = cast("CompressedLoop", asyncio.get_running_loop())
    rng = random.Random(seed)

    def inside() -> Inside:
        counts = json.loads((directory / COUNTS).read_text())
        return Inside(tasks=counts["tasks"], blocks=counts["blocks"])

    async with backends(rng, compressed=True) as servers:
        queues = [queue | _PATIENT for backend in servers for queue in backend.queues()]
        program = ("-m", "tests.soak.hurried", f"{speed:g}")
        async with adapter({"queues": queues}, directory, program=program, timeout=600.0) as running:
            loop.hurry(speed)
            try:
                return await Soak(
                    running, directory / "adapter.json", servers, rng, pace, inside=inside
                ).run()
            finally:
                loop.hurry(1.0)
