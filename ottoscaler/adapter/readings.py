"""The newest reading of every queue, how old it is, and what failed since.

Sources publish into it, the API, the metrics and the status page read from it; nothing here waits. What
cannot be true (counted below zero, measured in the future) is refused and becomes a failure that people
see, because a wrong number scales workers and an old one only holds them.

Ages come from two clocks and the greater one counts: the wall clock notices a suspended machine, the
monotonic one notices a wall clock that was set back. No step of either makes a reading look young.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from ottoscaler.adapter.config.model import QueueConfig
from ottoscaler.adapter.reading import FailureCode, ReadFailure, Reading, from_the_future
from ottoscaler.runtime.clock import Clock

_MOST_JOBS = 9_223_372_036_854_775
"""A quantity is 64 bits of thousandths."""


class News(Enum):
    """What a publication meant for its queue."""

    EXPECTED = "as before"
    FAILED = "fails, or for another reason than before"
    RECOVERED = "is read again"
    IGNORED = "is not configured"


class QueueState:
    """What is known of one queue. `version` grows with each new reading."""

    __slots__ = (
        "_age_at_receipt",
        "_received",
        "added_at",
        "added_monotonic",
        "config",
        "costs",
        "failure",
        "failures",
        "labels",
        "reading",
        "reads",
        "seconds_reading",
        "timed_reads",
        "version",
    )

    def __init__(self, config: QueueConfig, *, now: float, monotonic: float) -> None:
        self.config = config
        self.labels = config.labels
        self.reading: Reading | None = None
        self.failure: ReadFailure | None = None
        """The newest attempt, if it failed."""
        self.failures: Counter[FailureCode] = Counter()
        self.costs: Counter[str] = Counter()
        self.reads = 0
        self.timed_reads = 0
        self.seconds_reading = 0.0
        self.version = 0
        self.added_at = now
        self.added_monotonic = monotonic
        self._received = monotonic
        self._age_at_receipt = 0.0

    def age(self, *, now: float, monotonic: float) -> float:
        """Seconds since the measurement; since the queue was added, while there is none."""
        if self.reading is None:
            return max(now - self.added_at, monotonic - self.added_monotonic)
        return max(now - self.reading.measured_at, self._age_at_receipt + monotonic - self._received)

    def is_fresh(self, *, now: float, monotonic: float) -> bool:
        """Whether there is a reading that may be served."""
        return (
            self.reading is not None and self.age(now=now, monotonic=monotonic) <= self.config.options.max_age
        )

    def is_held(self, *, now: float, monotonic: float) -> bool:
        """Whether a last-known reading is served because the newest attempt failed."""
        return self.failure is not None and self.is_fresh(now=now, monotonic=monotonic)

    def is_fallback(self, *, now: float, monotonic: float) -> bool:
        """Whether the configured stand-in is served."""
        fallback = self.config.options.fallback
        return fallback is not None and self.age(now=now, monotonic=monotonic) > fallback.after

    def accept(self, reading: Reading, *, now: float, monotonic: float) -> None:
        """Makes `reading` the newest."""
        self.reading = reading
        self.failure = None
        self.version += 1
        self.reads += 1
        if reading.took is not None:
            self.timed_reads += 1
            self.seconds_reading += reading.took
        self._received = monotonic
        self._age_at_receipt = max(0.0, now - reading.measured_at)

    def refuse(self, failure: ReadFailure) -> None:
        """Notes that the newest attempt failed; the reading stays and ages."""
        self.failure = failure
        self.failures[failure.code] += 1


class Readings:
    """All queues by name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, QueueState] = {}
        self.generation = 0
        """Grows when queues are added, removed or changed."""

    def __iter__(self) -> Iterator[QueueState]:
        return iter(self._states.values())

    def __len__(self) -> int:
        return len(self._states)

    def get(self, queue: str) -> QueueState | None:
        """The state of a queue by name."""
        return self._states.get(queue)

    def set_queues(self, queues: Iterable[QueueConfig]) -> None:
        """Replaces the set; what is read in the same way as before keeps its reading and its age."""
        now, monotonic = self._clock.time(), self._clock.monotonic()
        states: dict[str, QueueState] = {}
        for config in queues:
            state = self._states.get(config.name)
            if state is None or not _measures_the_same(state.config, config):
                state = QueueState(config, now=now, monotonic=monotonic)
            state.config, state.labels = config, config.labels
            states[config.name] = state
        self._states = states
        self.generation += 1

    def publish(self, news: Reading | ReadFailure) -> News:
        """Takes what a source says and tells what is new about it."""
        state = self._states.get(news.queue)
        if state is None:
            return News.IGNORED
        now = self._clock.time()
        if isinstance(news, Reading):
            impossible = _impossible(news, now)
            if impossible is None:
                recovered = state.failure is not None
                state.accept(news, now=now, monotonic=self._clock.monotonic())
                return News.RECOVERED if recovered else News.EXPECTED
            news = ReadFailure(queue=news.queue, at=now, reason=impossible, code="invalid")
        known = state.failure is not None and state.failure.reason == news.reason
        state.refuse(news)
        return News.EXPECTED if known else News.FAILED

    def count(self, queue: str, what: str, amount: float) -> None:
        """Adds to a cost of reading `queue`, such as `document_reads`."""
        state = self._states.get(queue)
        if state is not None:
            state.costs[what] += amount  # type: ignore[assignment]  # a Counter adds floats as well


def _measures_the_same(one: QueueConfig, other: QueueConfig) -> bool:
    """Whether a reading of `one` is a reading of `other`: all else is how often, or who may see it."""
    return (
        one.block == other.block
        and one.settings == other.settings
        and one.options.stalled_after == other.options.stalled_after
        and one.series == other.series
    )


def _impossible(reading: Reading, now: float) -> str | None:
    """Why `reading` cannot be true, in words for people; None when it can."""
    measured = reading.measured_at
    if not math.isfinite(measured) or measured <= 0:
        return "measured at no possible time"
    if (ahead := from_the_future(measured, now)) is not None:
        return ahead
    counts: list[Any] = [reading.waiting, reading.processing, reading.stalled, reading.failed, reading.other]
    for part in reading.series:
        counts += (part.waiting, part.processing)
    for count in counts:
        if type(count) is not int or not 0 <= count <= _MOST_JOBS:
            return "a count that no queue can have"
    for oldest in (reading.oldest_waiting_at, *(part.oldest_waiting_at for part in reading.series)):
        if oldest is not None and not math.isfinite(oldest):
            return "an oldest job of no possible age"
    return None
