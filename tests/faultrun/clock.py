"""A clock whose wall time jumps and whose sleeps can be shortened."""

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

_JITTER = 1e-3


class Span(NamedTuple):
    """A stretch of monotonic time, in seconds."""

    start: float
    end: float


class JumpingClock:
    """`jump` moves the wall clock; the monotonic one goes on as always. `hurry` divides every sleep."""

    def __init__(self, *, hurry: float = 1.0) -> None:
        self._hurry = hurry
        self._offset = time.time() - time.monotonic()
        self._skews: list[tuple[float, float]] = [(0.0, 0.0)]
        """Since when (monotonic), by how much."""

    @property
    def skew(self) -> float:
        """Seconds by which the wall clock is wrong now."""
        return self._skews[-1][1]

    def time(self) -> float:
        return self.monotonic() + self._offset + self.skew

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._hurry)

    def jump(self, seconds: float) -> None:
        """The wall clock is off by so much from now on."""
        self._skews.append((self.monotonic(), seconds))

    def spans(self, start: float, end: float) -> Iterator[Span]:
        """When this clock can have said anything from `start` to `end`: more than once after a jump back."""
        ends = [*self._skews, (float("inf"), 0.0)]
        for (since, skew), (until, _) in pairwise(ends):
            first = max(since, start - skew - self._offset)
            last = min(until, end - skew - self._offset)
            if first <= last + _JITTER:
                yield Span(min(first, last), max(first, last))

    def right_spans(self, start: float, end: float) -> Iterator[Span]:
        """The same for a clock that never jumped, such as the backend's own."""
        yield Span(start - self._offset, end - self._offset)
