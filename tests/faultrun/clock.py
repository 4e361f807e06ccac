"""A clock whose wall time jumps and whose sleeps can be shortened."""

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise


class JumpingClock:
    """`jump` moves the wall clock; the monotonic one goes on as always. `hurry` divides every sleep."""

    def __init__(self, *, hurry: float = 1.0) -> None:
        self._hurry = hurry
        self._offset = time.time() - time.monotonic()
        self._skews: list[tuple[float, float]] = [(0.0, 0.0)]
        """Since when (monotonic), by how much."""

    def time(self) -> float:
        return self.monotonic() + self._offset + self._skews[-1][1]

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._hurry)

    def jump(self, seconds: float) -> None:
        """The wall clock is off by so much from now on."""
        self._skews.append((self.monotonic(), seconds))

    def moments(self, wall: float) -> Iterator[float]:
        """When (monotonic) this clock can have said `wall`: more than one moment after a jump back."""
        ends = [*self._skews, (float("inf"), 0.0)]
        for (since, skew), (until, _) in pairwise(ends):
            moment = wall - skew - self._offset
            if since - 1e-3 <= moment <= until + 1e-3:
                yield moment
