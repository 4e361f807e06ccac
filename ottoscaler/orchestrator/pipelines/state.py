"""The next state of a run, from the state it is in and the pods that exist: no I/O, no clock of its own.

The engine writes a state before it acts on it, and acts by what the state says should exist, so it may
die between any two steps and the next leader goes on with the same rules.
"""

from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from ottoscaler.orchestrator.pipelines.failures import GONE, REFUSED, TIMEOUT, Failure, matches
from ottoscaler.orchestrator.pipelines.model import (
    ERROR_SIZE,
    FINAL,
    REASON_SIZE,
    REASONS,
    RunSpec,
    RunState,
    StageSpec,
    StageState,
    Status,
    WorkerState,
    brief,
)
from ottoscaler.orchestrator.worker import Worker

_BLOCKING: frozenset[Status] = frozenset({"FAILED", "SKIPPED", "CANCELLED"})


class Slot(NamedTuple):
    """One attempt of one worker; there is at most one pod of it, ever."""

    stage: str
    attempt: int
    number: int
    """From 1."""


Pods = Mapping[Slot, Worker]


class Seen(NamedTuple):
    """What is known of a run besides its record."""

    pods: Pods
    """All that exist, and those that ended and are gone but have not been accounted for."""
    refused: Mapping[Slot, str] = MappingProxyType({})
    """Those that the API will not make, and why."""
    gone: Container[Slot] = ()
    """Those that had been made and are no more: the API server was asked."""


def advance(spec: RunSpec, state: RunState, seen: Seen, *, now: float, cancelled: bool) -> RunState:
    """The state that follows."""
    if state.over:
        return state
    stages = dict(state.stages)
    busy = {slot.stage for slot, pod in seen.pods.items() if not pod.ended}
    for stage in spec.stages:
        current = stages[stage.id]
        if current.status == "RUNNING":
            stages[stage.id] = _running(stage, current, seen, now)
        elif current.status == "RETRYING" and now >= current.retry_at and stage.id not in busy:
            stages[stage.id] = _begin_attempt(current, now)
    if cancelled:
        stages = {key: _cancel(each, now) for key, each in stages.items()}
    _start_ready(spec, stages, now)
    over = all(each.status in FINAL for each in stages.values())
    return replace(state, stages=stages, ended_at=now if over else 0.0)


def _start_ready(spec: RunSpec, stages: dict[str, StageState], now: float) -> None:
    """Starts what may start and skips what never can, until nothing changes."""
    moved = True
    while moved:
        moved = False
        for stage in spec.stages:
            current = stages[stage.id]
            if current.status != "PENDING":
                continue
            before = {each: stages[each].status for each in stage.depends_on}
            blocked = next((each for each, status in before.items() if status in _BLOCKING), None)
            if blocked is not None:
                error = brief(f"stage {blocked} did not complete", ERROR_SIZE)
                stages[stage.id] = replace(current, status="SKIPPED", ended_at=now, error=error)
                moved = True
            elif all(status == "COMPLETED" for status in before.values()):
                workers = (WorkerState(),) * stage.count
                stages[stage.id] = replace(
                    current, status="RUNNING", started_at=now, attempt_at=now, workers=workers
                )
                moved = True


def _running(stage: StageSpec, state: StageState, seen: Seen, now: float) -> StageState:
    workers: list[WorkerState] = []
    reasons = list(state.reasons)
    for number, worker in enumerate(state.workers, 1):
        slot = Slot(stage.id, worker.attempt, number)
        pod = seen.pods.get(slot)
        if worker.outcome:
            workers.append(worker)
            continue
        if pod is not None:
            worker = replace(worker, created=True)
        failure = _failure(stage, state, slot, pod, seen, now)
        if failure is not None:
            reason = brief(failure.words, REASON_SIZE)
            if reason not in reasons and len(reasons) < REASONS:
                reasons.append(reason)
            workers.append(replace(worker, outcome="failed", retryable=matches(stage.retry, failure)))
        elif pod is not None and pod.phase == "Succeeded":
            workers.append(replace(worker, outcome="ok"))
        else:
            workers.append(worker)
    state = replace(state, workers=tuple(workers), reasons=tuple(reasons))
    return _conclude(stage, state, now) if all(each.outcome for each in workers) else state


def _failure(
    stage: StageSpec, state: StageState, slot: Slot, pod: Worker | None, seen: Seen, now: float
) -> Failure | None:
    """How the worker failed; None when it has not."""
    if pod is None:
        if slot in seen.gone:
            return Failure(None, GONE, "", "the pod is gone")
        refusal = seen.refused.get(slot)
        return None if refusal is None else Failure(None, REFUSED, "", f"the API refused the pod: {refusal}")
    if pod.phase == "Failed":
        return Failure(pod.exit_code, pod.reason or "Error", pod.phase, pod.explain())
    deadline = _deadline(stage, state, pod)
    if deadline is not None and now >= deadline and pod.phase != "Succeeded":
        return Failure(None, TIMEOUT, "", f"took longer than {stage.timeout} s")
    return None


def _deadline(stage: StageSpec, state: StageState, pod: Worker) -> float | None:
    """When the worker has run out of time; None when it has none, or waits for our quota."""
    if not stage.timeout or pod.gated:
        return None
    return max(state.attempt_at, pod.created_at, pod.admitted_at or 0.0) + stage.timeout


def _conclude(stage: StageSpec, state: StageState, now: float) -> StageState:
    """Every worker of the attempt has ended."""
    failed = [each for each in state.workers if each.outcome == "failed"]
    if not failed:
        return replace(state, status="COMPLETED", ended_at=now, error="")
    words = "; ".join(state.reasons)
    error = brief(f"{len(failed)} of {stage.count} workers failed: {words}", ERROR_SIZE)
    if state.attempt < stage.retry.attempts and all(each.retryable for each in failed):
        return replace(state, status="RETRYING", retry_at=now + stage.retry.delay, error=error)
    return replace(state, status="FAILED", ended_at=now, error=error)


def _begin_attempt(state: StageState, now: float) -> StageState:
    """Those that failed run again; those that succeeded need not."""
    attempt = state.attempt + 1
    workers = tuple(
        WorkerState(attempt=attempt) if each.outcome == "failed" else each for each in state.workers
    )
    return replace(
        state,
        status="RUNNING",
        attempt=attempt,
        workers=workers,
        reasons=(),
        attempt_at=now,
        retry_at=0.0,
    )


def _cancel(state: StageState, now: float) -> StageState:
    if state.status in FINAL:
        return state
    return replace(state, status="CANCELLED", ended_at=now, error="the pipeline was cancelled")


def _open(spec: RunSpec, state: RunState) -> Iterable[tuple[Slot, WorkerState]]:
    """Workers of which the run waits to hear."""
    for stage in spec.stages:
        mine = state.stages[stage.id]
        if mine.status == "RUNNING":
            for number, worker in enumerate(mine.workers, 1):
                if not worker.outcome:
                    yield Slot(stage.id, worker.attempt, number), worker


def wanted(spec: RunSpec, state: RunState, pods: Pods) -> list[Slot]:
    """Workers whose pods are to be created."""
    return [slot for slot, worker in _open(spec, state) if not worker.created and slot not in pods]


def missing(spec: RunSpec, state: RunState, pods: Pods, made: Container[Slot]) -> list[Slot]:
    """Workers whose pods have been seen, or made, and are not there: the API server has to be asked."""
    return [
        slot for slot, worker in _open(spec, state) if (worker.created or slot in made) and slot not in pods
    ]


def unwanted(state: RunState, pods: Pods) -> list[Worker]:
    """Pods that are to go although they have not ended: of stages that are over, or that ran out of time."""
    return [pod for slot, pod in pods.items() if pod.active and not _needed(state, slot)]


def _needed(state: RunState, slot: Slot) -> bool:
    """Whether the run has still to hear of the slot.

    What is ahead of the state is: another leader has gone on, and its state has not reached us.
    """
    stage = state.stages.get(slot.stage)
    if stage is None or stage.status in FINAL:
        return False
    if stage.status == "PENDING":
        return True
    if slot.number > len(stage.workers):
        return False
    worker = stage.workers[slot.number - 1]
    return slot.attempt > worker.attempt or (slot.attempt == worker.attempt and not worker.outcome)


def accounted(state: RunState, slot: Slot) -> bool:
    """Whether the pod of `slot` has told the run all it can, so that it may be removed."""
    return state.over or not _needed(state, slot)


def wake_at(spec: RunSpec, state: RunState, pods: Pods, *, now: float) -> float | None:
    """When the state changes by itself, at the earliest; None when only pods can change it."""
    times = [each.retry_at for each in state.stages.values() if each.status == "RETRYING"]
    times = [at for at in times if at > now]  # a retry that is due waits for pods of the last attempt
    limited = {stage.id: stage for stage in spec.stages if stage.timeout}
    if limited:
        for slot, _ in _open(spec, state):
            stage, pod = limited.get(slot.stage), pods.get(slot)
            if stage is not None and pod is not None and not pod.ended:
                at = _deadline(stage, state.stages[slot.stage], pod)
                times += [] if at is None else [at]
    return min(times, default=None)
