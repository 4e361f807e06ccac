"""What was true of a queue, and when: the other half of every comparison.

Times are of the monotonic clock, which no fault moves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ottoscaler.adapter.config.model import QueueMetric

METRICS: tuple[QueueMetric, ...] = ("queue_waiting", "queue_demand", "queue_stalled", "queue_failed")
Values = tuple[int, ...]
"""One for each of `METRICS`."""
_REMEMBERED_SECONDS = 120.0
"""Longer than any reading is served."""


class Fact(Protocol):
    """What a queue holds at one time."""

    def values(self, wall: float) -> Values | None:
        """What an adapter whose wall clock says `wall` should serve; None where no number is true."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """Jobs whose state time does not change."""

    waiting: int
    processing: int

    def values(self, wall: float) -> Values:
        return (self.waiting, self.waiting + self.processing, 0, 0)


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no queue: whatever number is served was never true."""

    def values(self, wall: float) -> None:
        return None


@dataclass(slots=True)
class _Entry:
    since: float
    until: float
    fact: Fact


@dataclass
class TruthLog:
    """While a write is under way, what was before and what will be are both true."""

    entries: list[_Entry] = field(default_factory=list)

    def begin(self, fact: Fact, moment: float) -> None:
        """A write begins that makes the queue hold this."""
        self.entries.append(_Entry(moment, float("inf"), fact))

    def done(self, moment: float) -> None:
        """The write has ended: what the queue held before is no longer true."""
        if len(self.entries) > 1:
            self.entries[-2].until = moment
        while self.entries[0].until < moment - _REMEMBERED_SECONDS:
            del self.entries[0]

    def between(self, start: float, end: float) -> Iterator[Fact]:
        """What it can have held at any time from `start` to `end`."""
        return (each.fact for each in self.entries if each.since <= end and each.until >= start)
