"""What one queue contributes to one metric at one moment, or why it contributes nothing.

This is where freshness is decided: a reading younger than the queue's `maxAge` counts, judged at the
moment of asking; then a configured fallback; then nothing, and a sentence that tells people which
queue, since when, and what happens meanwhile.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ottoscaler.adapter.config.model import QueueMetric
from ottoscaler.adapter.reading import Counts, Reading
from ottoscaler.adapter.readings import QueueState
from ottoscaler.apiservice.provider import MetricUnavailable
from ottoscaler.apiservice.selector import Selector
from ottoscaler.runtime.values import format_duration

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
    """A queue that has no share. Why is put into words only for those queues that an error names."""

    state: QueueState
    age: float
    """Seconds since the measurement, or since the queue was added."""
    lacking: str = ""
    """What the reading does not tell, when there is a fresh one."""

    @property
    def sentence(self) -> str:
        """Which queue, since when, and why."""
        name = self.state.config.name
        return f"queue {name}: {self.lacking or _too_old(self.state, self.age)}"


def evaluate(state: QueueState, metric: QueueMetric, at: Moment) -> Measured | Unknown:
    """The share of the queue in `metric` at that moment."""
    age = state.age(now=at.wall, monotonic=at.monotonic)
    max_age = float(state.config.options.max_age)
    if state.reading is not None and age <= max_age:
        return _measured(state, state.reading, metric, at.wall, age=age)
    fallback = state.config.options.fallback
    if fallback is not None and age > fallback.after and metric in _FALLBACK_METRICS:
        since = state.added_at if state.reading is None else state.reading.measured_at
        return Measured(fallback.jobs * 1000, since, FOREVER, fallback=True)
    return Unknown(state, age)


def evaluate_series(
    state: QueueState, metric: QueueMetric, at: Moment, selector: Selector
) -> list[tuple[Mapping[str, str], Measured | Unknown]]:
    """The share of each part that `selector` matches, with all its labels. The reading must be one that
    `evaluate` takes."""
    reading, age = state.reading, state.age(now=at.wall, monotonic=at.monotonic)
    shares: list[tuple[Mapping[str, str], Measured | Unknown]] = []
    if reading is None:
        return shares
    for part in reading.series:
        labels = {**state.labels, **part.labels}
        if selector.matches(labels):
            alone = msgspec.structs.replace(
                reading,
                waiting=part.waiting,
                processing=part.processing,
                oldest_waiting_at=part.oldest_waiting_at,
            )
            shares.append((labels, _measured(state, alone, metric, at.wall, age=age)))
    if not shares and state.config.series is not None and state.config.series.absent == "empty":
        nothing = Measured(0, reading.measured_at, float(state.config.options.max_age) - age)
        shares.append((state.labels, nothing))
    return shares


def unavailable(unknown: Sequence[Unknown]) -> MetricUnavailable:
    """One error that names the first few queues and counts the rest."""
    more = f"; and {len(unknown) - _MOST_NAMED} more queues" if len(unknown) > _MOST_NAMED else ""
    named = "; ".join(share.sentence for share in unknown[:_MOST_NAMED])
    return MetricUnavailable(f"{named}{more}; {_HOLDS}")


def _measured(
    state: QueueState, reading: Reading, metric: QueueMetric, now: float, *, age: float
) -> Measured | Unknown:
    left = float(state.config.options.max_age) - age
    if metric == "queue_oldest_waiting_seconds":
        return _oldest(reading, now, left) or Unknown(
            state, age, "its jobs do not say when they were created"
        )
    value = _COUNTS[metric](reading.counts(now))
    if reading.heartbeats and metric in _CHANGES_WITH_TIME:
        left = min(left, _next_silence(reading, now))
    return Measured(value * 1000, reading.measured_at, left)


def _oldest(reading: Reading, now: float, left: float) -> Measured | None:
    if reading.waiting == 0:
        return Measured(0, reading.measured_at, left)
    if reading.oldest_waiting_at is None:
        return None
    # whole seconds, so that the answer changes, and is encoded, at most once a second
    age = max(0.0, now - reading.oldest_waiting_at)
    return Measured(int(age) * 1000, reading.measured_at, min(left, 1.0 - age % 1.0))


def _next_silence(reading: Reading, now: float) -> float:
    """Seconds until the next held job counts as stalled."""
    silent = bisect_right(reading.heartbeats, now - reading.heartbeat_timeout)
    if silent == len(reading.heartbeats):
        return FOREVER
    return reading.heartbeats[silent] + reading.heartbeat_timeout - now


def _too_old(state: QueueState, age: float) -> str:
    why = state.failure.reason if state.failure is not None else _without_failure(state)
    if state.reading is None:
        since = format_time(state.added_at)
        return f"not measured once in {format_duration(int(age))} (since {since}): {why}"
    return (
        f"last measured {format_duration(int(age))} ago ({format_time(state.reading.measured_at)}), "
        f"older than its maxAge {state.config.options.max_age}: {why}"
    )


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
