"""What is known of every queue, as JSON: what is counted, how old it is, and what is wrong.

`/status` for scripts (and, by `status_page`, for people), and `/metrics/waiting-jobs` for those who asked the scaler that ran
inside the generator: one total, or an error; never a number that was not measured.
"""

from typing import Any, NamedTuple

import msgspec

import ottoscaler
from ottoscaler.adapter.evaluation import Moment, Unknown, evaluate, format_time
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.adapter.telemetry import ReloadStatus


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One queue as JSON."""

    queue: str
    kind: str
    state: str
    """fresh, held, fallback or unavailable."""
    waiting: int | None = None
    processing: int | None = None
    stalled: int | None = None
    failed: int | None = None
    other: int | None = None
    demand: int | None = None
    lower_bound: bool = False
    oldest_waiting_seconds: float | None = None
    measured_at: str | None = None
    age_seconds: float | None = None
    error: str | None = None
    """Why the newest attempt failed."""


class JsonAnswer(NamedTuple):
    """A body and its HTTP status."""

    status: int
    body: dict[str, Any]


def queue_status(state: QueueState, at: Moment) -> QueueStatus:
    """The queue as it is served at that moment; counts are the newest that were measured, however old."""
    shown = QueueStatus(
        queue=state.config.name,
        kind=state.config.kind,
        state=_state(state, at),
        error=state.failure.reason if state.failure else None,
    )
    reading = state.reading
    if reading is None:
        return shown
    counts = reading.counts(at.wall)
    oldest = reading.oldest_waiting_at
    known = {**counts._asdict(), "other": reading.other}
    for name in state.config.uncounted:
        del known[name]
    return msgspec.structs.replace(
        shown,
        **known,
        demand=counts.demand,
        lower_bound=reading.lower_bound,
        oldest_waiting_seconds=None if oldest is None else round(max(0.0, at.wall - oldest), 1),
        measured_at=format_time(reading.measured_at),
        age_seconds=round(state.age(now=at.wall, monotonic=at.monotonic), 1),
    )


def _state(state: QueueState, at: Moment) -> str:
    if state.is_held(now=at.wall, monotonic=at.monotonic):
        return "held"
    if state.is_fresh(now=at.wall, monotonic=at.monotonic):
        return "fresh"
    return "fallback" if state.is_fallback(now=at.wall, monotonic=at.monotonic) else "unavailable"


def waiting_jobs(readings: Readings, queue: str | None, at: Moment) -> JsonAnswer:
    """The answer of `/metrics/waiting-jobs`, of one queue or of all."""
    states = [state for state in readings if queue in {None, state.config.name}]
    if not states:
        return JsonAnswer(404, {"error": f"no queue {queue!r}" if queue else "no queue is configured"})
    shares = [evaluate(state, "queue_waiting", at) for state in states]
    sentences = [share.sentence for share in shares if isinstance(share, Unknown)]
    if sentences:
        return JsonAnswer(503, {"error": "; ".join(sentences)})
    total = sum(share.value_milli for share in shares if not isinstance(share, Unknown)) // 1000
    queues = [msgspec.to_builtins(queue_status(state, at)) for state in states]
    return JsonAnswer(200, {"waitingJobs": total, "timestamp": format_time(at.wall), "queues": queues})


def status_json(readings: Readings, reload: ReloadStatus, at: Moment) -> dict[str, Any]:
    """Everything on the page."""
    return {
        "version": ottoscaler.__version__,
        "time": format_time(at.wall),
        "configuration": {
            "hash": reload.hash[:12],
            "appliedAt": format_time(reload.applied_at),
            "lastReloadSuccessful": reload.successful,
            **({"error": reload.error} if reload.error else {}),
        },
        "queues": [msgspec.to_builtins(queue_status(state, at)) for state in readings],
    }
