"""`kill -9` at any moment neither loses a worker nor runs one twice; nor do Redis and the API server, restarted."""

import random
from pathlib import Path

import pytest

from tests.cluster.launcher import Cluster
from tests.cluster.orchestrator.figures import SEED, SIZES, record
from tests.cluster.orchestrator.scene import scene
from tests.cluster.orchestrator.storm import restart_redis, storm

pytestmark = pytest.mark.own_cluster  # what ran is told by a file of the node


async def test_killed_at_random_moments(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        figures = await storm(here, replica, seed=SEED, events=SIZES.events, kills=SIZES.kills)
        record("killed", seed=SEED, **figures)


async def test_redis_restarted_in_the_middle(namespace: str, kubeconfig: Path) -> None:
    moments = random.Random(SEED + 2)
    times = max(1, SIZES.kills // 4)
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        figures = await storm(
            here,
            replica,
            seed=SEED,
            events=SIZES.events,
            kills=0 if SIZES.kills < 20 else SIZES.kills,
            disturb=lambda: restart_redis(here, moments, times),
        )
        record("redis restarted", seed=SEED, restarts=times, **figures)
        outages = replica.log.count("cannot read events")
        assert outages <= times + SIZES.kills, "an outage is logged once, in each life"


async def test_api_server_restarted_in_the_middle(namespace: str, kubeconfig: Path, cluster: Cluster) -> None:
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        figures = await storm(
            here,
            replica,
            seed=SEED,
            events=SIZES.events,
            kills=0 if SIZES.kills < 20 else SIZES.kills,
            disturb=lambda: cluster.command("restart", "apiserver"),
        )
        record("API server restarted", seed=SEED, **figures)
