"""The next state of a run, from the state it is in and the pods that exist: no I/O, no clock of its own.

The engine writes a state before it acts on it, and acts by what the state says should exist, so it may
die between any two steps and the next leader goes on with the same rules.
"""

import re
from collections.abc import Container, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from ottoscaler.orchestrator.pipelines.model import (
    FINAL,
    RetryRule,
    RunSpec,
    RunState,
    StageSpec,
    StageState,
    WorkerState,
)
from ottoscaler.orchestrator.worker import Worker

TIMEOUT = "Timeout"
REFUSED = "Refused"
GONE = "Gone"
"""Reasons of failures that no pod reports."""

_RANGE = re.compile(r"(?:exit[ _]?code[ :=]*)?([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?", re.IGNORECASE)


class Slot(NamedTuple):
    """One attempt of one worker; there is at most one pod of it, ever."""

    stage: str
    attempt: int
    number: int
    """From 1."""


Pods = Mapping[Slot, Worker]


class _News(NamedTuple):
    pods: Pods
    refused: Mapping[Slot, str]
    created: Container[Slot]


class Failure(NamedTuple):
    """How a worker failed, as retry policies name failures."""

    exit_code: int | None
    reason: str
    phase: str
    words: str


def matches(rule: RetryRule, failure: Failure) -> bool:
    """Whether the policy calls this failure retryable."""
    if not rule.failures:
        return True
    return any(_names(entry.strip(), failure) for entry in rule.failures)


def _names(entry: str, failure: Failure) -> bool:
    if match := _RANGE.fullmatch(entry):
        low = int(match[1])
        high = int(match[2] or low)
        return failure.exit_code is not None and low <= failure.exit_code <= high
    word = entry.partition(":")[2].strip() if entry.lower().startswith(("reason:", "phase:")) else entry
    return word.lower() in {failure.reason.lower(), failure.phase.lower()}


def advance(
    spec: RunSpec,
    state: RunState,
    pods: Pods,
    *,
    now: float,
    cancelled: bool,
    refused: Mapping[Slot, str] | None = None,
    created: Container[Slot] = (),
) -> RunState:
    """The state that follows. `pods` are all of the run that exist; `refused` those that the API will not
    make, `created` those that it has made."""
    if state.over:
        return state
    stages = dict(state.stages)
    for stage in spec.stages:
        current = stages[stage.id]
        if current.status == "RUNNING":
            news = _News(pods, refused or {}, created)
            stages[stage.id] = _running(stage, current, news, now)
        elif current.status == "RETRYING" and now >= current.retry_at:
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
            before = {stages[each].status for each in stage.depends_on}
            if before & {"FAILED", "SKIPPED", "CANCELLED"}:
                blocked = next(
                    each
                    for each in stage.depends_on
                    if stages[each].status in {"FAILED", "SKIPPED", "CANCELLED"}
                )
                stages[stage.id] = replace(
                    current, status="SKIPPED", ended_at=now, error=f"stage {blocked} did not complete"
                )
                moved = True
            elif before <= {"COMPLETED"}:
                stages[stage.id] = replace(
                    current,
                    status="RUNNING",
                    started_at=now,
                    attempt_at=now,
                    workers=(WorkerState(),) * stage.count,
                )
                moved = True


def _running(stage: StageSpec, state: StageState, news: _News, now: float) -> StageState:
    workers: list[WorkerState] = []
    waits = False
    for index, worker in enumerate(state.workers, 1):
        slot = Slot(stage.id, worker.attempt, index)
        pod = news.pods.get(slot)
        waits = waits or (pod is not None and pod.gated and pod.active)
        if pod is None and not worker.created and slot in news.created:
            workers.append(replace(worker, created=True))  # if it is not seen next time, it is gone
        else:
            workers.append(_observe(stage, worker, pod, news.refused.get(slot)))
    # The time in which the quota keeps workers waiting is not the stage's.
    attempt_at = now if waits else state.attempt_at
    if stage.timeout and not waits and now >= attempt_at + stage.timeout:
        workers = [_time_out(stage, each) for each in workers]
    state = replace(state, workers=tuple(workers), attempt_at=attempt_at)
    return _conclude(stage, state, now) if all(each.outcome for each in workers) else state


def _observe(stage: StageSpec, worker: WorkerState, pod: Worker | None, refusal: str | None) -> WorkerState:
    if worker.outcome:
        return worker
    if pod is None:
        if refusal is not None:
            return _failed(
                stage, worker, Failure(None, REFUSED, "", f"the API refused the pod: {refusal[:300]}")
            )
        if worker.created:
            return _failed(stage, worker, Failure(None, GONE, "", "the pod is gone"))
        return worker
    worker = replace(worker, created=True)
    if pod.phase == "Succeeded":
        return replace(worker, outcome="ok")
    if pod.phase == "Failed":
        failure = Failure(pod.exit_code, pod.reason or "Error", pod.phase, pod.explain())
        return _failed(stage, worker, failure)
    return worker


def _time_out(stage: StageSpec, worker: WorkerState) -> WorkerState:
    if worker.outcome:
        return worker
    return _failed(stage, worker, Failure(None, TIMEOUT, "", f"took longer than {stage.timeout} s"))


def _failed(stage: StageSpec, worker: WorkerState, failure: Failure) -> WorkerState:
    return replace(
        worker, outcome="failed", reason=failure.words[:400], retryable=matches(stage.retry, failure)
    )


def _conclude(stage: StageSpec, state: StageState, now: float) -> StageState:
    """Every worker of the attempt has ended."""
    failed = [each for each in state.workers if each.outcome == "failed"]
    if not failed:
        return replace(state, status="COMPLETED", ended_at=now, error="")
    reasons = list(dict.fromkeys(each.reason for each in failed))
    error = f"{len(failed)} of {stage.count} workers failed: {'; '.join(reasons[:3])}"[:1000]
    if state.attempt < stage.retry.attempts and all(each.retryable for each in failed):
        return replace(state, status="RETRYING", retry_at=now + stage.retry.delay, error=error)
    return replace(state, status="FAILED", ended_at=now, error=error)


def _begin_attempt(state: StageState, now: float) -> StageState:
    """Those that failed run again; those that succeeded need not."""
    attempt = state.attempt + 1
    workers = tuple(
        WorkerState(attempt=attempt) if each.outcome == "failed" else each for each in state.workers
    )
    return replace(state, status="RUNNING", attempt=attempt, workers=workers, attempt_at=now, retry_at=0.0)


def _cancel(state: StageState, now: float) -> StageState:
    if state.status in FINAL:
        return state
    return replace(state, status="CANCELLED", ended_at=now, error="the pipeline was cancelled")


def wanted(spec: RunSpec, state: RunState, pods: Pods) -> list[Slot]:
    """Workers whose pods are to be created."""
    return [
        slot
        for stage in spec.stages
        if state.stages[stage.id].status == "RUNNING"
        for index, worker in enumerate(state.stages[stage.id].workers, 1)
        if not worker.outcome
        and not worker.created
        and (slot := Slot(stage.id, worker.attempt, index)) not in pods
    ]


def unwanted(state: RunState, pods: Pods) -> list[Worker]:
    """Pods that are to go although they have not ended: of stages that are over, or that ran out of time."""
    return [pod for slot, pod in pods.items() if pod.active and not _needed(state, slot)]


def _needed(state: RunState, slot: Slot) -> bool:
    stage = state.stages.get(slot.stage)
    if stage is None or stage.status != "RUNNING" or slot.number > len(stage.workers):
        return False
    worker = stage.workers[slot.number - 1]
    return worker.attempt == slot.attempt and not worker.outcome


def accounted(state: RunState, slot: Slot) -> bool:
    """Whether the pod of `slot` has told the run all it can, so that it may be removed."""
    return state.over or not _needed(state, slot)


def wake_at(spec: RunSpec, state: RunState) -> float | None:
    """When the state changes by itself, at the earliest; None when only pods can change it."""
    times = [each.retry_at for each in state.stages.values() if each.status == "RETRYING"]
    times += [
        state.stages[stage.id].attempt_at + stage.timeout
        for stage in spec.stages
        if stage.timeout and state.stages[stage.id].status == "RUNNING"
    ]
    return min(times, default=None)
