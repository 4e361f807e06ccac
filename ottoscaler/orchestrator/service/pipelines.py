"""ExecutePipeline: starts a run or finds it running, and tells how it goes until it is over.

The run itself is driven by the leader, from the cluster. So any replica can follow it, and a call that
ends because this process ends leaves the run alone; a call that the client cancels ends it.
"""

import asyncio
from collections.abc import AsyncIterator

import grpc

from ottoscaler.orchestrator.pipelines.engine import pod_name
from ottoscaler.orchestrator.pipelines.model import FINAL, RunSpec, RunState, StageSpec, StageState
from ottoscaler.orchestrator.pipelines.request import read_run
from ottoscaler.orchestrator.pipelines.runs import Run, RunInUse, Runs
from ottoscaler.orchestrator.pipelines.state import Slot
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.calls import Context, Refused
from ottoscaler.orchestrator.times import format_time
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("pipelines")

_SPACING = 0.1
"""Seconds between two looks at a run that changes all the time."""


class PipelineCalls:
    """The call, apart from how it is served."""

    def __init__(self, runs: Runs, *, max_stages: int, max_workers: int, clock: Clock) -> None:
        self._runs = runs
        self._max_stages = max_stages
        self._max_workers = max_workers
        self._clock = clock
        self._followers: dict[str, int] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()

    async def execute(
        self, request: pb.PipelineRequest, context: Context
    ) -> AsyncIterator[pb.PipelineProgress]:
        """Progress until the run is over."""
        spec = read_run(request, max_stages=self._max_stages, max_workers=self._max_workers)
        try:
            run = await self._runs.start(spec, at=self._clock.time())
        except RunInUse:
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS,
                f"pipeline_id {spec.id[:80]!r} belongs to a run with other stages: use another id",
            ) from None
        self._followers[run.name] = self._followers.get(run.name, 0) + 1
        try:
            async for progress in self._follow(run):
                yield progress
        except asyncio.CancelledError:
            if self._followers[run.name] == 1 and not self._leaving.is_set():
                self._cancel(run)
            raise
        finally:
            self._followers[run.name] -= 1
            if not self._followers[run.name]:
                del self._followers[run.name]

    def leave(self) -> None:
        """The process ends: runs go on, and whoever follows them is told to call again."""
        self._leaving.set()

    async def drain(self) -> None:
        """Waits for cancellations that are being written."""
        if self._cancelling:
            await asyncio.wait(self._cancelling)

    def _cancel(self, run: Run) -> None:
        task = asyncio.get_running_loop().create_task(self._write_cancellation(run))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _write_cancellation(self, run: Run) -> None:
        backoff = Backoff(initial=0.2, maximum=5.0)
        log.info("pipeline cancelled by its client", pipeline=run.spec.id[:80])
        for _ in range(20):
            try:
                return await self._runs.cancel(run.name)
            except KubeError as error:
                if error.status == 404:
                    return None
                await self._clock.sleep(backoff.next())
        log.warning("the cancellation of a pipeline could not be written", pipeline=run.spec.id[:80])
        return None

    async def _follow(self, run: Run) -> AsyncIterator[pb.PipelineProgress]:
        latest = [run]
        changed = asyncio.Event()
        gone = False

        def see(seen: Run, is_gone: bool) -> None:
            nonlocal gone
            if seen.uid == run.uid:
                latest[0], gone = seen, is_gone
                changed.set()

        unsubscribe = self._runs.subscribe(see)
        told: dict[str, pb.PipelineProgress] = {}
        try:
            yield self._beginning(run)
            while True:
                changed.clear()
                for progress in self._news(latest[0], told):
                    yield progress
                if latest[0].state.over:
                    yield self._end(latest[0])
                    return
                if gone:
                    raise Refused(grpc.StatusCode.ABORTED, "the record of the run was deleted")
                await self._next(changed)
        finally:
            unsubscribe()

    async def _next(self, changed: asyncio.Event) -> None:
        """Raises `Refused` when the process leaves."""
        waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(self._leaving.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if self._leaving.is_set():
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                "the orchestrator is going away, the pipeline runs on: call again with the same pipeline_id",
            )
        await self._clock.sleep(_SPACING)

    def _news(self, run: Run, told: dict[str, pb.PipelineProgress]) -> list[pb.PipelineProgress]:
        """What has changed since it was last told, in the order of the stages."""
        news: list[pb.PipelineProgress] = []
        for stage in run.spec.stages:
            state = run.state.stages[stage.id]
            if state.status == "PENDING":
                continue
            progress = self._stage(run, stage, state)
            before = told.get(stage.id)
            progress.timestamp = before.timestamp if before is not None else ""
            if progress != before:
                progress.timestamp = format_time(self._clock.time())
                told[stage.id] = progress
                news.append(progress)
        return news

    def _stage(self, run: Run, stage: StageSpec, state: StageState) -> pb.PipelineProgress:
        return pb.PipelineProgress(
            pipeline_id=run.spec.id,
            stage_id=stage.id,
            status=f"STAGE_{state.status}",
            message=_message(stage, state),
            worker_pod_names=[
                pod_name(run, Slot(stage.id, worker.attempt, number))
                for number, worker in enumerate(state.workers, 1)
            ],
            progress_percentage=100 * state.succeeded // stage.count,
            started_at=format_time(state.started_at or None),
            completed_at=format_time(state.ended_at or None),
            error_message=state.error,
            metrics=_metrics(stage, state) if state.status in FINAL else None,
        )

    def _beginning(self, run: Run) -> pb.PipelineProgress:
        started = run.state.started_at
        return pb.PipelineProgress(
            pipeline_id=run.spec.id,
            status=pb.STAGE_RUNNING,
            message=f"pipeline {run.spec.name or run.spec.id} with {len(run.spec.stages)} stages",
            progress_percentage=percentage(run.spec, run.state),
            timestamp=format_time(self._clock.time()),
            started_at=format_time(started),
        )

    def _end(self, run: Run) -> pb.PipelineProgress:
        state = run.state
        errors = [
            f"stage {key}: {each.error}" for key, each in state.stages.items() if each.status == "FAILED"
        ]
        return pb.PipelineProgress(
            pipeline_id=run.spec.id,
            status=f"STAGE_{state.outcome}",
            message=f"pipeline {state.outcome.lower()} after {state.ended_at - state.started_at:.1f} s",
            progress_percentage=percentage(run.spec, state),
            timestamp=format_time(self._clock.time()),
            started_at=format_time(state.started_at),
            completed_at=format_time(state.ended_at),
            error_message="; ".join(errors)[:2000],
        )


def percentage(spec: RunSpec, state: RunState) -> int:
    """The share of all workers that have ended well."""
    return 100 * sum(each.succeeded for each in state.stages.values()) // spec.workers


def _message(stage: StageSpec, state: StageState) -> str:
    name = stage.name or stage.id
    match state.status:
        case "RUNNING":
            again = f", attempt {state.attempt} of {stage.retry.attempts}" if state.attempt > 1 else ""
            return f"{name}: {state.succeeded} of {stage.count} workers done{again}"
        case "RETRYING":
            return f"{name}: attempt {state.attempt} of {stage.retry.attempts} failed, again in {stage.retry.delay} s"
        case "SKIPPED":
            return f"{name}: skipped, {state.error}"
        case status:
            return f"{name}: {status.lower()}"


def _metrics(stage: StageSpec, state: StageState) -> pb.StageMetrics:
    """What was measured; where the cluster has no metrics API, CPU and memory are left out."""
    seconds = state.ended_at - state.started_at if state.started_at else 0.0
    metrics = pb.StageMetrics(
        duration_seconds=round(seconds),
        successful_workers=state.succeeded,
        failed_workers=state.failed,
        total_workers=stage.count,
    )
    if state.samples:
        metrics.avg_cpu_usage = state.cpu_sum / state.samples
        metrics.avg_memory_mb = state.memory_sum / state.samples
    return metrics
