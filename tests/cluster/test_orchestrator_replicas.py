"""Several replicas: every one works, one leads, and when it dies another goes on."""

import random
import time
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.orchestrator.births import Births, births
from tests.cluster.orchestrator.figures import SEED, SIZES, record
from tests.cluster.orchestrator.scene import scene
from tests.cluster.orchestrator.storm import Producer
from tests.orchestrator.replica import Replica
from tests.waiting import until

pytestmark = pytest.mark.own_cluster  # what ran is told by a file of the node

ROUNDS = max(1, SIZES.kills // 4)
"""Each kills the one that leads then."""


async def test_the_leader_is_killed(namespace: str, kubeconfig: Path) -> None:
    lease = 5.0
    async with scene(kubeconfig, namespace) as here:
        settings = here.settings("echo $OTTO_WORKER_ID >> /evidence/ran; sleep 0.5")
        async with (
            here.replica(settings, "first") as leader,
            here.replica(settings, "second") as other,
            births(here.kube, here.pods) as told,
        ):
            await until(partial(_leads, leader), what="the first leads")
            producer = Producer(here, random.Random(SEED))
            at_once, all_done = [], []
            for number in range(1, ROUNDS + 1):
                await producer.burst(15, over=0.3)
                killed = time.monotonic()
                await leader.kill()
                await here.scale_up("after-the-kill", 1)
                producer.events, producer.workers = producer.events + 1, producer.workers + 1
                await until(partial(_born, told, "after-the-kill", number), within=lease, what="events go on")
                at_once.append(time.monotonic() - killed)
                await producer.burst(15, over=0.6)
                await until(partial(_leads, other), what="the other leads")
                await here.until_settled(producer.events)
                all_done.append(time.monotonic() - killed)
                await leader.start()
                leader, other = other, leader
            await here.until_ran(producer.workers)
            await here.until_gone()
            assert not told.twice
            assert here.ran() == dict.fromkeys(told.uids, 1)
            assert len(told.uids) == producer.workers
            for name in here.ran():
                assert here.handler.received.told(name) == ["CREATED", "RUNNING", "COMPLETED"]
        record(
            "leader killed",
            seed=SEED,
            times=ROUNDS,
            **{
                "lease, s": lease,
                "next event, at most s": max(at_once),
                "the dead one's events, at most s": max(all_done),
                "events": producer.events,
                "workers": producer.workers,
            },
        )


async def _leads(replica: Replica) -> bool:
    return bool((await replica.status()).get("leading"))


def _born(told: Births, task: str, count: int) -> bool:
    return sum(f"-{task}-" in name for name in told.uids) >= count


async def test_a_replica_that_ends_in_order_hands_over_at_once(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        script = (
            "echo $OTTO_WORKER_ID >> /evidence/ran; for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done"
        )
        settings = here.settings(script)
        async with here.replica(settings, "first") as first:
            await until(lambda: "leading" in first.log, what="the first leads")
            async with here.replica(settings, "second") as second:
                await here.scale_up("handed", 3)
                ran = await here.until_ran(3)
                await until(lambda: all(here.handler.received.lines(name) for name in ran), what="lines come")
                assert await first.end() == 0
                await until(lambda: "leading" in second.log, within=4, what="the second leads")
                await here.until_gone()
                for name in ran:
                    assert here.handler.received.lines(name) == [f"line {n}" for n in range(1, 7)]
                    assert here.handler.received.stages(name) == ["CREATED", "RUNNING", "COMPLETED"]
                assert here.handler.received.repeated == 0
