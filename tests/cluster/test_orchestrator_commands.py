"""What people type, on a real control plane: workers up, watched and down, and a pipeline."""

import json
from pathlib import Path
from typing import Any

from tests.cluster.orchestrator.scene import scene
from tests.orchestrator.commands import Command, ottoscaler
from tests.waiting import until

HELD = "echo $OTTO_WORKER_ID >> /evidence/ran; exec sleep 60"


async def test_scale_up_watch_and_scale_down(namespace: str, kubeconfig: Path) -> None:
    async with (
        scene(kubeconfig, namespace) as here,
        here.replica(here.settings(HELD, events=None)) as replica,
    ):
        server = ("--server", replica.address)
        task = ("--task", "task-123")
        async with Command("scale", "status", "--watch", "-o", "json", *task, *server) as watch:

            async def until_running(count: int) -> Any:
                while True:
                    status = json.loads(await watch.line())
                    if (status["total_count"], status["running_count"]) == (count, count):
                        return status

            await until_running(0)
            up = await ottoscaler("scale", "up", "--workers", "3", *task, *server)
            assert (up.status, up.err) == (0, "")
            message, *names = up.out.splitlines()
            assert message == "created 3 workers for task task-123"
            assert set(await here.until_ran(3)) == set(names)
            status = await until_running(3)
            assert {each["pod_name"] for each in status["workers"]} == set(names)

            one = await ottoscaler("scale", "down", "--workers", "1", *task, *server)
            assert one.status == 0
            status = await until_running(1)
            (kept,) = (each["pod_name"] for each in status["workers"])
            assert set(one.out.splitlines()[1:]) == set(names) - {kept}

            none = await ottoscaler("scale", "down", "--workers", "0", "--watch", *task, *server)
            assert none.status == 0
            assert none.out.splitlines()[-1] == f"{kept}  gone"
            await until_running(0)
            watch.interrupt()
            assert (await watch.end()).status == 130
        await here.until_gone()
        assert set(here.ran().values()) == {1}


async def test_a_full_pipeline_and_one_that_is_interrupted(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(events=None)) as replica:
        server = ("--server", replica.address)
        full = await ottoscaler("pipeline", "run", "--type", "full", "--id", "full-1", *server)
        assert (full.status, full.err) == (0, "")
        assert full.out.splitlines()[-1].partition(" ")[2].startswith("pipeline completed 100%")
        assert (await here.until_ran(8)).total() == 8, "one worker, three, two, one, and one"

        file = here.directory / "pipeline.yaml"
        file.write_text("{id: long, stages: [{id: held, command: [sleep, '60'], workers: 2}]}")
        async with Command("pipeline", "run", "--file", file, *server) as running:
            await running.until_line("held running")

            async def started() -> bool:
                return len(await here.workers()) == 2

            await until(started, what="its workers exist")
            running.interrupt()
            ended = await running.end()
        assert ended.status == 130
        assert (
            ended.err
            == "pipeline long is cancelled, unless another call follows it: its workers are removed\n"
        )
        await here.until_gone()
