"""Events of the stream become workers, from creation to removal."""

from pathlib import Path

import pytest

from tests.cluster.orchestrator.scene import scene
from tests.waiting import until

pytestmark = pytest.mark.own_cluster  # what ran is told by a file of the node

HELD = "echo $OTTO_WORKER_ID >> /evidence/ran; exec sleep 60"


async def test_three_workers_from_one_event(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        script = "echo working on $OTTO_TASK_ID; echo $OTTO_WORKER_ID >> /evidence/ran; sleep 1; echo done"
        async with here.replica(here.settings(script)):
            await here.scale_up("task-123", 3, repository="acme/shop", triggered_by="push")
            ran = await here.until_ran(3)
            workers = await here.workers()
            assert len(ran) == 3
            assert {each.index for each in workers} == {1, 2, 3}
            for each in workers:
                assert each.name.startswith("otto-agent-task-123-")
                assert each.labels["managed-by"] == "ottoscaler"
                assert each.labels["app"] == "otto-agent"
                assert each.labels["task-id"] == "task-123"
            await here.until_gone()
            await here.until_settled(1)
            for name in ran:
                assert here.handler.received.stages(name) == ["CREATED", "RUNNING", "COMPLETED"]
                assert here.handler.received.lines(name) == ["working on task-123", "done"]
            assert here.ran() == dict.fromkeys(ran, 1)


async def test_one_of_five_fails_and_disturbs_nobody(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        script = (
            "echo $OTTO_WORKER_ID >> /evidence/ran; echo begin; "
            'if [ "$OTTO_WORKER_INDEX" = 3 ]; then echo broken >&2; exit 3; fi; sleep 1; echo end'
        )
        async with here.replica(here.settings(script)):
            await here.scale_up("five", 5)
            ran = await here.until_ran(5)
            received = here.handler.received
            await until(
                lambda: sum(received.stages(name)[-1:] == ["COMPLETED"] for name in ran) == 4,
                what="four workers end well",
            )
            (failed,) = [each for each in await here.workers() if each.phase == "Failed"]
            assert failed.index == 3
            assert failed.exit_code == 3
            assert received.stages(failed.name) == ["CREATED", "RUNNING", "FAILED"]
            news = received.notifications[failed.name][-1]
            assert news.metadata["exit_code"] == "3"
            assert news.reason == "exited with code 3"
            assert received.lines(failed.name) == ["begin", "broken"]
            for name in set(ran) - {failed.name}:
                assert received.lines(name) == ["begin", "end"]

            async def only_the_failed() -> bool:
                return [each.name for each in await here.workers()] == [failed.name]

            await until(only_the_failed, what="it is kept for people to look at")
            await here.until_gone()
            assert here.ran() == dict.fromkeys(ran, 1)


async def test_scaling_down_to_one_and_to_none(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(HELD)):
        await here.scale_up("held", 3)
        await here.scale_up("other", 1)
        await here.until_ran(4)

        async def active(task: str) -> int:
            return sum(each.active and each.task_id == task for each in await here.workers())

        async def is_one() -> bool:
            return await active("held") == 1

        await here.scale_down("held", 1)
        await until(is_one, what="one worker remains")
        (left,) = [each for each in await here.workers() if each.active and each.task_id == "held"]
        await here.scale_down("held", 0)

        async def is_none() -> bool:
            return not [each for each in await here.workers() if each.task_id == "held"]

        await until(is_none, what="no worker remains")
        assert await active("other") == 1, "another task's worker is left alone"
        await until(
            lambda: here.handler.received.stages(left.name) == ["CREATED", "RUNNING", "TERMINATED"],
            what="the handler knows",
        )
        await here.until_settled(4)
