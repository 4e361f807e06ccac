"""A clock that follows the running loop, so that a `looptime` test decides every age and window."""

import asyncio

EPOCH = 1_790_000_000.0
"""The wall clock when the loop's clock says zero: seconds since the epoch, 2026-09-21."""


class VirtualClock:
    """Both clocks move with the loop; `skew` moves the wall clock alone, as a clock jump does."""

    def __init__(self, *, skew: float = 0.0) -> None:
        self.skew = skew

    def time(self) -> float:
        return EPOCH + self.monotonic() + self.skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
