"""What a follower of a run is told, worked out from how far the run has come and what was told before.

Nothing waits in a queue for a slow client. The story of a stage follows from its state: attempt by
attempt RUNNING, RETRYING, …, then its end. So whatever a client has missed, because it read slowly, came
late or called again, is told after the fact and in order; only counts within a status are told as
they are when the client is ready for them.
"""

from typing import NamedTuple

from ottoscaler.orchestrator.pipelines.model import FINAL, RunSpec, RunState, StageSpec, StageState, Status
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.slots import pod_name
from ottoscaler.orchestrator.pipelines.state import Slot
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.times import format_time


class Chapter(NamedTuple):
    """One change of a stage that every follower is told."""

    status: Status
    attempt: int


def chapters(state: StageState) -> list[Chapter]:
    """All that a stage has gone through; what follows is only ever added."""
    if state.status == "PENDING":
        return []
    story: list[Chapter] = []
    if state.started_at:
        for attempt in range(1, state.attempt):
            story += [Chapter("RUNNING", attempt), Chapter("RETRYING", attempt)]
        story.append(Chapter("RUNNING", state.attempt))
        if state.retry_at:
            story.append(Chapter("RETRYING", state.attempt))
    if state.status in FINAL:
        story.append(Chapter(state.status, state.attempt))
    return story


class Story:
    """What one follower has been told of one run."""

    def __init__(self, spec: RunSpec) -> None:
        self._order = causal_order(spec)
        self._told: dict[str, int] = {}
        """Chapters by stage."""
        self._newest: dict[str, tuple[int, int]] = {}
        """Attempt and workers done, as last told."""

    def news(self, run: Run, *, at: float) -> list[pb.PipelineProgress]:
        """What is to be told now: a stage's end before the beginning of what depends on it."""
        news: list[pb.PipelineProgress] = []
        for stage in self._order:
            state = run.state.stages[stage.id]
            story, told = chapters(state), self._told.get(stage.id, 0)
            counted = (state.attempt, state.succeeded + state.failed)
            again = told == len(story) and state.status == "RUNNING" and self._newest.get(stage.id) != counted
            untold = story[told - 1 :] if again else story[told:]
            news.extend(tell(run, stage, state, chapter, at=at) for chapter in untold)
            self._told[stage.id] = len(story)
            self._newest[stage.id] = counted
        return news


def causal_order(spec: RunSpec) -> tuple[StageSpec, ...]:
    """Stages after all that they depend on, else as they were given."""
    placed: dict[str, StageSpec] = {}
    waiting = list(spec.stages)
    while waiting:
        ready = [stage for stage in waiting if all(each in placed for each in stage.depends_on)]
        if not ready:
            raise ValueError("stages wait for each other")
        placed |= {stage.id: stage for stage in ready}
        waiting = [stage for stage in waiting if stage.id not in placed]
    return tuple(placed.values())


def tell(
    run: Run, stage: StageSpec, state: StageState, chapter: Chapter, *, at: float
) -> pb.PipelineProgress:
    """One chapter of a stage, with what was true then."""
    over = chapter.status in FINAL
    done, error = _done(state, chapter), _error(state, chapter)
    names = [
        pod_name(run, Slot(stage.id, min(worker.attempt, chapter.attempt), number))
        for number, worker in enumerate(state.workers, 1)
    ]
    return pb.PipelineProgress(
        pipeline_id=run.spec.id,
        stage_id=stage.id,
        status=f"STAGE_{chapter.status}",
        message=_message(stage, state, chapter, done),
        worker_pod_names=names,
        progress_percentage=100 * done // stage.count,
        timestamp=format_time(at),
        started_at=format_time(state.started_at or None),
        completed_at=format_time(state.ended_at or None) if over else "",
        error_message=error,
        metrics=_metrics(stage, state) if over and state.started_at else None,
    )


def _done(state: StageState, chapter: Chapter) -> int:
    """Workers that had ended well: now, at the end of the attempt, or when it began."""
    newest = chapter == (state.status, state.attempt)
    before = chapter.attempt + (newest or chapter.status != "RUNNING")
    return sum(worker.outcome == "ok" and worker.attempt < before for worker in state.workers)


def _error(state: StageState, chapter: Chapter) -> str:
    """The state knows why the last attempt failed, and no other."""
    if chapter == (state.status, state.attempt):
        return "" if chapter.status == "RUNNING" else state.error
    last_failed = chapter == ("RETRYING", state.attempt - 1) and state.status == "RUNNING"
    return state.error if last_failed else ""


def beginning(run: Run, *, at: float) -> pb.PipelineProgress:
    """The first message of every call."""
    return pb.PipelineProgress(
        pipeline_id=run.spec.id,
        status=pb.STAGE_RUNNING,
        message=f"pipeline {run.spec.name or run.spec.id} with {len(run.spec.stages)} stages",
        progress_percentage=percentage(run.spec, run.state),
        timestamp=format_time(at),
        started_at=format_time(run.state.started_at),
    )


def end(run: Run, *, at: float) -> pb.PipelineProgress:
    """The last message of every call that sees the run's end."""
    state = run.state
    errors = [f"stage {key}: {each.error}" for key, each in state.stages.items() if each.status == "FAILED"]
    return pb.PipelineProgress(
        pipeline_id=run.spec.id,
        status=f"STAGE_{state.outcome}",
        message=f"pipeline {state.outcome.lower()} after {state.ended_at - state.started_at:.1f} s",
        progress_percentage=percentage(run.spec, state),
        timestamp=format_time(at),
        started_at=format_time(state.started_at),
        completed_at=format_time(state.ended_at),
        error_message="; ".join(errors)[:2000],
    )


def percentage(spec: RunSpec, state: RunState) -> int:
    """The share of all workers that have ended well."""
    return 100 * sum(each.succeeded for each in state.stages.values()) // spec.workers


def _message(stage: StageSpec, state: StageState, chapter: Chapter, done: int) -> str:
    name, attempts = stage.name or stage.id, stage.retry.attempts
    match chapter.status:
        case "RUNNING":
            again = f", attempt {chapter.attempt} of {attempts}" if chapter.attempt > 1 else ""
            return f"{name}: {done} of {stage.count} workers done{again}"
        case "RETRYING":
            return f"{name}: attempt {chapter.attempt} of {attempts} failed, again in {stage.retry.delay} s"
        case "SKIPPED":
            return f"{name}: skipped, {state.error}"
        case status:
            return f"{name}: {status.lower()}"


def _metrics(stage: StageSpec, state: StageState) -> pb.StageMetrics:
    """What was measured; where the cluster has no metrics API, CPU and memory are left out."""
    metrics = pb.StageMetrics(
        duration_seconds=round(state.ended_at - state.started_at),
        successful_workers=state.succeeded,
        failed_workers=state.failed,
        total_workers=stage.count,
    )
    if state.samples:
        metrics.avg_cpu_usage = state.cpu_sum / state.samples
        metrics.avg_memory_mb = state.memory_sum / state.samples
    return metrics
