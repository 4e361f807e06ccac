"""`kill -9` at any moment neither loses a worker nor runs one twice; nor do Redis and the API server, restarted."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.cluster.launcher import Cluster
from tests.cluster.orchestrator.scene import Scene, scene
from tests.orchestrator.replica import Replica

SEED = int(os.environ.get("OTTOSCALER_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
KILLS = int(os.environ.get("OTTOSCALER_KILLS", "5"))
EVENTS = int(os.environ.get("OTTOSCALER_EVENTS", "50"))


async def send_events(here: Scene, rng: random.Random, count: int) -> int:
    """Sends events of one to four workers in uneven bursts; how many workers that is in all."""
    workers = 0
    for number in range(count):
        size = rng.randint(1, 4)
        workers += size
        await here.scale_up(f"task-{number % 17}", size)
        if rng.random() < 0.4:
            await asyncio.sleep(rng.uniform(0, 0.08))
    return workers


async def expect_exactly(here: Scene, workers: int, events: int) -> None:
    """That many workers ran, each once; nothing is left behind."""
    await here.until_settled(events, within=120)
    await here.until_ran(workers, within=120)
    await here.until_gone(within=120)
    ran = here.ran()
    twice = {name: times for name, times in ran.items() if times > 1}
    assert not twice, f"seed {SEED}: ran more than once: {twice}"
    assert len(ran) == workers, f"seed {SEED}"
    assert await here.dead_letters() == []


async def kill_at_random(replica: Replica, rng: random.Random, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(rng.uniform(0.02, 1.2))
        await replica.kill()
        await replica.start(wait=rng.random() < 0.5)


async def test_killed_at_random_moments(namespace: str, kubeconfig: Path) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send_events(here, rng, EVENTS))
            group.create_task(kill_at_random(replica, random.Random(SEED + 1), KILLS))
        await expect_exactly(here, sending.result(), EVENTS)
        assert replica.restarts == KILLS


async def test_redis_restarted_in_the_middle(namespace: str, kubeconfig: Path) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        before = await send_events(here, rng, EVENTS // 2)
        await asyncio.sleep(rng.uniform(0, 0.05))
        await asyncio.to_thread(here.server.stop)
        await asyncio.sleep(rng.uniform(0.05, 0.09))
        await asyncio.to_thread(here.server.start)
        after = await send_events(here, rng, EVENTS - EVENTS // 2)
        await expect_exactly(here, before + after, EVENTS)
        outages = replica.log.count("cannot read events")
        assert outages <= 2, "an outage is logged once"


@pytest.mark.own_cluster
async def test_api_server_restarted_in_the_middle(namespace: str, kubeconfig: Path, cluster: Cluster) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()):
        before = await send_events(here, rng, EVENTS // 2)
        restarting = asyncio.create_task(cluster.command("restart", "apiserver"))
        after = await send_events(here, rng, EVENTS - EVENTS // 2)
        await restarting
        await expect_exactly(here, before + after, EVENTS)
