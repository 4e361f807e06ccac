"""The adapter's own process, for as long as it takes."""

import random
from pathlib import Path

from tests.bench.adapter_process import adapter
from tests.soak.backends import backends
from tests.soak.run import Outcome, Pace, Soak


async def soak(directory: Path, *, seed: int, pace: Pace) -> Outcome:
    """What happened."""
    rng = random.Random(seed)
    async with backends(rng) as servers:
        queues = [{"timeout": "5s", **queue} for backend in servers for queue in backend.queues()]
        async with adapter({"queues": queues}, directory) as running:
            return await Soak(running, directory / "adapter.json", servers, rng, pace).run()
