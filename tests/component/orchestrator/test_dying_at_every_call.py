"""A replica that dies at any call it makes, before or after that call's effect, is gone on for exactly.

Not at random: the calls of a whole life are counted first, then it dies at each of them once.
"""

import asyncio

import pytest
import redis.asyncio

from ottoscaler.orchestrator.tending.quota import Limits
from tests.component.orchestrator.living import STREAM, Births, live, pods, settled, world
from tests.orchestrator.dying import Faults
from tests.redis.server import RedisServer
from tests.waiting import until

EVENTS = (("a", 2), ("b", 1), ("a", 1))
WORKERS = 4


async def send(client: "redis.asyncio.Redis") -> None:
    for task, count in EVENTS:
        await client.xadd(STREAM, {"type": "scale_up", "task_id": task, "pod_count": count})


async def play(client: "redis.asyncio.Redis", faults: Faults, limits: Limits | None) -> Births:
    """Events come, the replica dies, another life of it goes on until nothing is left to do."""
    async with world(client) as (cluster, births):
        await send(client)
        first = asyncio.create_task(live(cluster, client, faults=faults, limits=limits))

        async def done() -> bool:
            return births.names.total() >= WORKERS and not pods(cluster) and await settled(client)

        async def over() -> bool:
            return first.done() or await done()

        await until(over, every=0.005, what="it has died, or done everything")
        if not first.done():
            first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.create_task(live(cluster, client, limits=limits))
        await until(done, every=0.005, what="the next life has done everything")
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        return births


@pytest.mark.parametrize("after", [False, True], ids=["before the effect", "after the effect"])
@pytest.mark.parametrize("limits", [None, Limits(per_task=1)], ids=["unlimited", "one a task"])
async def test_every_worker_is_created_exactly_once(
    redis_server: RedisServer, limits: Limits | None, after: bool
) -> None:
    client = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    try:
        whole = Faults()
        await play(client, whole, limits)
        calls = whole.calls
        assert calls > 15
        for at in range(1, calls + 1):
            births = await play(client, Faults(dies_at=at, after=after), limits)
            assert births.names.total() == WORKERS, f"died at call {at} of {calls}: {births.names}"
            assert len(births.names) == WORKERS, f"died at call {at} of {calls}: {births.names}"
    finally:
        await client.aclose()
