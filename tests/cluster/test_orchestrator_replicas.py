"""Several replicas: every one works, one leads, and when it dies another goes on."""

import asyncio
from pathlib import Path

from tests.cluster.orchestrator.scene import scene
from tests.waiting import until


async def test_the_leader_is_killed(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        settings = here.settings("echo $OTTO_WORKER_ID >> /evidence/ran; sleep 0.5")
        async with here.replica(settings, "first") as first, here.replica(settings, "second") as second:
            await until(lambda: "leading" in first.log, what="the first leads")
            workers = 0
            for number in range(40):
                workers += 1 + number % 3
                await here.scale_up(f"task-{number % 7}", 1 + number % 3)
                if number == 15:
                    await first.kill()
                    killed = asyncio.get_running_loop().time()
                await asyncio.sleep(0.02)
            await here.until_settled(40, within=40)
            settled = asyncio.get_running_loop().time()
            await here.until_ran(workers)
            await here.until_gone()
            took = settled - killed
            print(f"all events were done {took:.1f} s after the leader was killed (lease: 5 s)")
            assert set(here.ran().values()) == {1}
            assert here.ran().total() == workers
            assert (await second.status())["leading"]
            for name in here.ran():
                assert here.handler.received.told(name) == ["CREATED", "RUNNING", "COMPLETED"]


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
