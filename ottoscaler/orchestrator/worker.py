"""A worker as the cluster knows it: what we read of a pod, and nothing more.

Pods arrive as the API's JSON and are reduced at once, so that hundreds of them cost little memory and
the rest of the code decides on a small immutable value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ottoscaler.orchestrator.naming import DOMAIN
from ottoscaler.orchestrator.times import parse_time

Phase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]

CONTAINER: Final = "worker"
QUOTA_GATE: Final = f"{DOMAIN}/quota"
"""A scheduling gate: the pod exists and waits until the quota admits it."""

TASK: Final = f"{DOMAIN}/task-id"
EVENT: Final = f"{DOMAIN}/event"
REQUEST: Final = f"{DOMAIN}/request"
RUN: Final = f"{DOMAIN}/run"
PIPELINE: Final = f"{DOMAIN}/pipeline-id"
STAGE: Final = f"{DOMAIN}/stage-id"
ATTEMPT: Final = f"{DOMAIN}/attempt"
REQUESTED_AT: Final = f"{DOMAIN}/requested-at"
ADMITTED: Final = f"{DOMAIN}/admitted-at"
RELEASED: Final = f"{DOMAIN}/released"
"""Annotations. `released` on a failed worker: nobody wants to look at it any more."""

_PHASES: Final[Mapping[str, Phase]] = {
    "Pending": "Pending",
    "Running": "Running",
    "Succeeded": "Succeeded",
    "Failed": "Failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWorker:
    """Which part of a pipeline a worker is."""

    run: str
    """The uid of the run's ConfigMap."""
    pipeline_id: str
    stage_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One version of one pod. Times are seconds since the epoch."""

    name: str
    uid: str
    version: str
    """The API's resourceVersion."""
    task_id: str
    index: int
    labels: Mapping[str, str]
    event: str | None = None
    """Id of the stream entry that asked for it."""
    request: str | None = None
    """Key of the call that asked for it, when the caller named one."""
    stage: StageWorker | None = None
    phase: Phase = "Pending"
    gated: bool = False
    """Waits for our quota."""
    gates: tuple[str, ...] = ()
    created_at: float = 0.0
    requested_at: float = 0.0
    admitted_at: float | None = None
    """When our quota let it start; None when it did not have to wait for that, or still does."""
    scheduled_at: float | None = None
    started_at: float | None = None
    """When the container started; None before."""
    finished_at: float | None = None
    deleting_at: float | None = None
    """When somebody asked for its deletion."""
    released: bool = False
    node: str = ""
    ip: str = ""
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    """The API's word: `Error`, `OOMKilled`, `DeadlineExceeded`, `Evicted`, `ImagePullBackOff`, …"""
    message: str = ""

    @property
    def ended(self) -> bool:
        """It will do nothing more."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def active(self) -> bool:
        """It runs or will run: it counts against a quota once admitted."""
        return not self.ended and self.deleting_at is None

    @property
    def has_log(self) -> bool:
        """Its container has started, so there is a log to follow."""
        return self.started_at is not None

    def explain(self) -> str:
        """Why it failed or waits, in words for people; empty when there is nothing to say."""
        if self.phase == "Failed":
            return self._explain_failure()
        if self.phase == "Pending" and self.gated:
            return "waits for the quota"
        return ": ".join(part for part in (self.reason, self.message[:500]) if part)

    def _explain_failure(self) -> str:
        if self.exit_code is not None:
            ended = f"killed by signal {self.signal}" if self.signal else f"exited with code {self.exit_code}"
            known = "" if self.reason in {"", "Error"} else f" ({self.reason})"
            last = f": {self.message[:500]}" if self.message else ""
            return f"{ended}{known}{last}"
        return ": ".join(part for part in (self.reason or "failed", self.message[:500]) if part)


def read_worker(pod: Mapping[str, Any]) -> Worker:
    """The worker that `pod`, an object of the core/v1 API, is."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    created = parse_time(metadata.get("creationTimestamp")) or 0.0
    requested, admitted = notes.get(REQUESTED_AT), notes.get(ADMITTED)
    gates = tuple(gate["name"] for gate in spec.get("schedulingGates") or ())
    container = _container(status)
    phase = _PHASES.get(status.get("phase") or "Pending", "Unknown")
    reason, message = _reason(phase, status, container)
    ended = container.get("terminated") or {}
    started = ended or container.get("running") or {}
    return Worker(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata.get("resourceVersion", ""),
        task_id=notes.get(TASK, labels.get("task-id", "")),
        index=_number(labels.get("worker-index")),
        labels=labels,
        event=notes.get(EVENT),
        request=notes.get(REQUEST),
        stage=_stage(notes),
        phase=phase,
        gated=QUOTA_GATE in gates,
        gates=gates,
        created_at=created,
        requested_at=_number(requested) / 1000 if requested else created,
        admitted_at=_number(admitted) / 1000 if admitted else None,
        scheduled_at=_condition_time(status, "PodScheduled"),
        started_at=parse_time(started.get("startedAt")),
        finished_at=_finished(phase, status, ended),
        deleting_at=_deleting(metadata),
        released=notes.get(RELEASED) == "true",
        node=spec.get("nodeName") or "",
        ip=status.get("podIP") or "",
        exit_code=ended.get("exitCode"),
        signal=ended.get("signal"),
        reason=reason,
        message=message,
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state of our container: `{running|waiting|terminated: …}`, or nothing."""
    for entry in status.get("containerStatuses") or ():
        if entry.get("name") == CONTAINER:
            state: Mapping[str, Any] = entry.get("state") or {}
            return state
    return {}


def _stage(notes: Mapping[str, str]) -> StageWorker | None:
    if RUN not in notes:
        return None
    return StageWorker(
        run=notes[RUN],
        pipeline_id=notes.get(PIPELINE, ""),
        stage_id=notes.get(STAGE, ""),
        attempt=_number(notes.get(ATTEMPT)),
    )


def _number(text: str | None) -> int:
    """Ours are numbers; a person may have written anything over them."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def _deleting(metadata: Mapping[str, Any]) -> float | None:
    """The API's deletionTimestamp lies ahead by the grace period."""
    deadline = parse_time(metadata.get("deletionTimestamp"))
    return None if deadline is None else deadline - (metadata.get("deletionGracePeriodSeconds") or 0)


def _finished(phase: Phase, status: Mapping[str, Any], ended: Mapping[str, Any]) -> float | None:
    if phase not in {"Succeeded", "Failed"}:
        return None
    return parse_time(ended.get("finishedAt")) or _condition_time(status, "Ready") or None


def _condition_time(status: Mapping[str, Any], kind: str) -> float | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and (kind != "PodScheduled" or condition.get("status") == "True"):
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _reason(phase: Phase, status: Mapping[str, Any], container: Mapping[str, Any]) -> tuple[str, str]:
    """The pod's own reason (eviction, deadline) before the container's, and what keeps it waiting."""
    ended, waiting = container.get("terminated") or {}, container.get("waiting") or {}
    if phase in {"Succeeded", "Failed"}:
        reason = status.get("reason") or (ended.get("reason") if phase == "Failed" else "") or ""
        return reason, (status.get("message") or ended.get("message") or "").strip()
    if waiting and waiting.get("reason") not in {"ContainerCreating", "PodInitializing"}:
        return waiting.get("reason") or "", (waiting.get("message") or "").strip()
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "", (condition.get("message") or "").strip()
    return "", ""
