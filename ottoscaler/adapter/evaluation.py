"""What one queue contributes to one metric at one moment, or why it contributes nothing.

This is where freshness is decided: a reading younger than the queue's `maxAge` counts, judged at the
moment of asking; then a configured fallback; then nothing, and a sentence that tells people which
queue, since when, and what happens meanwhile.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ottoscaler.adapter.config.model import QueueMetric
from ottoscaler.adapter.reading import Counts, Reading
from ottoscaler.adapter.readings import QueueState
from ottoscaler.adapter.values import format_duration
from ottoscaler.apiservice.provider import MetricUnavailable

FOREVER = math.inf
_MOST_NAMED = 3
_HOLDS = "the HPA holds its replicas until then"
_FALLBACK_METRICS = frozenset({"queue_demand", "queue_waiting"})
_COUNTS: dict[str, Callable[[Counts], int]] = {
    "queue_demand": lambda counts: counts.demand,
    "queue_failed": lambda counts: counts.failed,
    "queue_processing": lambda counts: counts.processing,
    "queue_stalled": lambda counts: counts.stalled,
    "queue_waiting": lambda counts: counts.waiting,
}
_CHANGES_WITH_TIME = frozenset({"queue_demand", "queue_processing", "queue_stalled"})


class Moment(NamedTuple):
    """Now, by both clocks (seconds)."""

    wall: float
    monotonic: float


class Measured(NamedTuple):
    """A queue's share in a metric."""

    value_milli: int
    measured_at: float
    """Seconds since the epoch."""
    good_for: float
    """Seconds after which the value or the right to serve it may have changed, if no news comes."""
    fallback: bool = False


class Unknown(NamedTuple):
    """A queue that has no share, in words for people."""

    sentence: str


def evaluate(state: QueueState, metric: QueueMetric, at: Moment) -> Measured | Unknown:
    """The share of the queue in `metric` at that moment."""
    age = state.age(now=at.wall, monotonic=at.monotonic)
    max_age = float(state.config.options.max_age)
    if state.reading is not None and age <= max_age:
        return _measured(state.reading, metric, at.wall, left=max_age - age)
    fallback = state.config.options.fallback
    if fallback is not None and age > fallback.after and metric in _FALLBACK_METRICS:
        since = state.added_at if state.reading is None else state.reading.measured_at
        return Measured(fallback.jobs * 1000, since, FOREVER, fallback=True)
    return Unknown(_sentence(state, age, max_age))


def unavailable(sentences: Sequence[str]) -> MetricUnavailable:
    """One error that names the first few queues and counts the rest."""
    more = f"; and {len(sentences) - _MOST_NAMED} more queues" if len(sentences) > _MOST_NAMED else ""
    return MetricUnavailable(f"{'; '.join(sentences[:_MOST_NAMED])}{more}; {_HOLDS}")


def _measured(reading: Reading, metric: QueueMetric, now: float, *, left: float) -> Measured | Unknown:
    if metric == "queue_oldest_waiting_seconds":
        return _oldest(reading, now, left)
    value = _COUNTS[metric](reading.counts(now))
    if reading.heartbeats and metric in _CHANGES_WITH_TIME:
        left = min(left, _next_silence(reading, now))
    return Measured(value * 1000, reading.measured_at, left)


def _oldest(reading: Reading, now: float, left: float) -> Measured | Unknown:
    if reading.waiting == 0:
        return Measured(0, reading.measured_at, left)
    if reading.oldest_waiting_at is None:
        return Unknown(f"queue {reading.queue}: its jobs do not say when they were created")
    # whole seconds, so that the answer changes, and is encoded, at most once a second
    age = max(0.0, now - reading.oldest_waiting_at)
    return Measured(int(age) * 1000, reading.measured_at, min(left, 1.0 - age % 1.0))


def _next_silence(reading: Reading, now: float) -> float:
    """Seconds until the next held job counts as stalled."""
    silent = bisect_right(reading.heartbeats, now - reading.heartbeat_timeout)
    if silent == len(reading.heartbeats):
        return FOREVER
    return reading.heartbeats[silent] + reading.heartbeat_timeout - now


def _sentence(state: QueueState, age: float, max_age: float) -> str:
    options = state.config.options
    if state.reading is None:
        when = f"not measured once in {format_duration(int(age))} (since {format_time(state.added_at)})"
    else:
        when = (
            f"last measured {format_duration(int(age))} ago ({format_time(state.reading.measured_at)}), "
            f"older than its maxAge {format_duration(max_age)}"
        )
    why = state.failure.reason if state.failure is not None else _without_failure(state)
    return f"queue {options.name}: {when}: {why}"


def _without_failure(state: QueueState) -> str:
    return (
        "the first measurement is under way"
        if state.reading is None
        else "its backend has sent nothing since"
    )


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC, whole seconds: `2026-03-01T12:00:00Z`."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "an impossible time"
