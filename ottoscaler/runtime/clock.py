"""Time as a parameter, so that ages, windows and caches can be tested without waiting.

Two clocks matter: the wall clock dates measurements that leave the process, the monotonic one
measures how long something took. Code that decides by either takes a `Clock`.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where a component gets its time from."""

    def time(self) -> float:
        """Seconds since the epoch (wall clock; may jump)."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start (never goes back)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds; cancellable."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()
