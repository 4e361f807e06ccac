"""Pipelines on a real control plane: retried, failed, cancelled, and resumed across a restart."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from tests.cluster.orchestrator.scene import Scene, scene
from tests.orchestrator.following import Told, execute, stage
from tests.waiting import until

RAN = "echo $OTTO_STAGE_ID $OTTO_WORKER_INDEX $OTTO_ATTEMPT >> /evidence/stages; "


SOON = {"retain": "1s"}
"""How long a failed worker is kept here."""


def stages_ran(here: Scene) -> Counter[str]:
    """How often each `stage index attempt` ran, by the workers' own evidence."""
    file = here.directory / "evidence" / "stages"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


async def test_a_full_pipeline_with_a_flaky_stage(namespace: str, kubeconfig: Path) -> None:
    flaky = RAN + "if [ $OTTO_WORKER_INDEX = 2 ] && [ $OTTO_ATTEMPT -lt 3 ]; then exit 7; fi"
    request = pb.PipelineRequest(
        pipeline_id="full-1",
        name="full",
        repository="acme/shop",
        stages=[
            stage("build", RAN + "sleep 0.3"),
            stage("unit", RAN, after=("build",), workers=3),
            stage(
                "integration",
                flaky,
                after=("build",),
                workers=2,
                retry_policy=pb.RetryPolicy(max_attempts=3, retry_delay_seconds=1, retryable_failures=["7"]),
            ),
            stage("deploy", RAN, after=("unit", "integration")),
        ],
    )
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(workers=SOON)) as replica:
        told = Told()
        await asyncio.wait_for(execute(replica.address, request, told), 60)
        assert told.of("") == ["STAGE_RUNNING", "STAGE_COMPLETED"]
        assert told.last("").progress_percentage == 100
        assert told.of("integration") == [
            *["STAGE_RUNNING", "STAGE_RETRYING"] * 2,
            "STAGE_RUNNING",
            "STAGE_COMPLETED",
        ]
        assert told.of("deploy") == ["STAGE_RUNNING", "STAGE_COMPLETED"]
        last = told.last("integration")
        assert (last.metrics.successful_workers, last.metrics.total_workers) == (2, 2)
        assert last.metrics.duration_seconds >= 2, "two retries, a second each"
        assert stages_ran(here) == Counter(
            ["build 1 1", "unit 1 1", "unit 2 1", "unit 3 1", "integration 1 1", "deploy 1 1"]
            + [f"integration 2 {attempt}" for attempt in (1, 2, 3)]
        )
        order = [each.stage_id for each in told.messages if each.status == pb.STAGE_COMPLETED]
        assert order.index("build") < order.index("unit")
        assert order[-2:] == ["deploy", ""]
        await here.until_gone()


async def test_a_failing_stage_skips_what_depends_on_it(namespace: str, kubeconfig: Path) -> None:
    request = pb.PipelineRequest(
        pipeline_id="failing",
        stages=[
            stage("build", RAN),
            stage("test", RAN + "echo wrong >&2; exit 4", after=("build",), workers=2),
            stage("lint", RAN, after=("build",)),
            stage("deploy", RAN, after=("test", "lint")),
            stage("announce", RAN, after=("deploy",)),
        ],
    )
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(workers=SOON)) as replica:
        told = Told()
        await asyncio.wait_for(execute(replica.address, request, told), 60)
        assert told.of("test") == ["STAGE_RUNNING", "STAGE_FAILED"]
        assert told.last("test").error_message == "2 of 2 workers failed: exited with code 4"
        assert told.of("lint") == ["STAGE_RUNNING", "STAGE_COMPLETED"]
        assert told.of("deploy") == ["STAGE_SKIPPED"]
        assert told.of("announce") == ["STAGE_SKIPPED"]
        assert told.of("") == ["STAGE_RUNNING", "STAGE_FAILED"]
        assert told.last("").progress_percentage == 100 * 2 // 6
        assert set(stages_ran(here)) == {"build 1 1", "test 1 1", "test 2 1", "lint 1 1"}


async def test_cancelled_by_its_client(namespace: str, kubeconfig: Path) -> None:
    request = pb.PipelineRequest(
        pipeline_id="cancelled",
        stages=[stage("long", RAN + "exec sleep 60", workers=3), stage("never", RAN, after=("long",))],
    )
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(workers=SOON)) as replica:
        told = Told()
        running = asyncio.create_task(execute(replica.address, request, told))
        await until(lambda: len(stages_ran(here)) == 3, what="the stage runs")
        running.cancel()
        await asyncio.wait({running})
        await here.until_gone(within=30)
        after = Told()
        await asyncio.wait_for(execute(replica.address, request, after), 30)
        assert after.of("long") == ["STAGE_RUNNING", "STAGE_CANCELLED"]
        assert after.of("never") == ["STAGE_CANCELLED"]
        assert after.last("").status == pb.STAGE_CANCELLED
        assert len(stages_ran(here)) == 3, "following a run that is over starts nothing"


async def test_resumed_across_a_restart(namespace: str, kubeconfig: Path) -> None:
    request = pb.PipelineRequest(
        pipeline_id="resumed",
        stages=[
            stage("first", RAN + "sleep 1", workers=2),
            stage("second", RAN + "sleep 1", after=("first",), workers=2),
            stage("third", RAN, after=("second",)),
        ],
    )
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(workers=SOON)) as replica:
        told = Told()
        running = asyncio.create_task(execute(replica.address, request, told))
        await until(lambda: len(stages_ran(here)) == 2, what="the first stage runs")
        await replica.kill()
        outcome: Any = (await asyncio.gather(running, return_exceptions=True))[0]
        assert isinstance(outcome, grpc.aio.AioRpcError)
        await replica.start()
        again = Told()
        following = asyncio.create_task(execute(replica.address, request, again))
        await until(lambda: any("second" in each for each in stages_ran(here)), what="the second stage runs")
        assert await replica.end() == 0
        await asyncio.gather(following, return_exceptions=True)
        await replica.start()
        last = Told()
        await asyncio.wait_for(execute(replica.address, request, last), 60)
        assert last.last("").status == pb.STAGE_COMPLETED
        assert stages_ran(here) == Counter(
            ["first 1 1", "first 2 1", "second 1 1", "second 2 1", "third 1 1"]
        ), "every worker ran once"
        await here.until_gone()
