"""When which polled queue is read next.

Queues with the same interval are due together, so that one pipeline reads them all; the moments themselves
are jittered, so that the sources of one process, and the replicas of one installation, do not fall into
step. Jitter only ever shortens an interval: nobody waits longer than was configured.
"""

import random
from collections.abc import Container, Mapping

_SHORTEST = 0.9
"""A tick comes after this share of the interval, up to all of it."""
_TOGETHER = 0.1
"""Queues due within this share of their interval are read now, with those that are due."""


class Schedule:
    """Names and their next times, in seconds of a monotonic clock."""

    __slots__ = ("_due", "_intervals", "_random")

    def __init__(self, *, rng: random.Random | None = None) -> None:
        self._random = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._intervals: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def plan(self, intervals: Mapping[str, float], *, now: float, anew: Container[str] = ()) -> None:
        """Replaces the names. New ones, those with a new interval and those in `anew` are due at once."""
        self._due = {
            name: self._due[name] if self._intervals.get(name) == interval and name not in anew else now
            for name, interval in intervals.items()
        }
        self._intervals = dict(intervals)

    def take(self, *, now: float) -> list[str]:
        """The names that are due, in the order they were given; each is planned for its next time."""
        if not any(due <= now for due in self._due.values()):
            return []
        taken = [name for name, due in self._due.items() if due <= now + _TOGETHER * self._intervals[name]]
        next_tick: dict[float, float] = {}
        for name in taken:
            interval = self._intervals[name]
            if interval not in next_tick:
                next_tick[interval] = self._next(interval, set(taken), now)
            self._due[name] = next_tick[interval]
        return taken

    def wait(self, *, now: float) -> float | None:
        """Seconds until something is due; None when there are no names."""
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def _next(self, interval: float, taken: set[str], now: float) -> float:
        """The next tick of an interval: the one that others of it already wait for, or a new one."""
        planned = [
            due for name, due in self._due.items() if self._intervals[name] == interval and name not in taken
        ]
        if planned:
            return min(planned)
        return now + interval * self._random.uniform(_SHORTEST, 1.0)
