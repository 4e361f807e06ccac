"""The time that a pod has to end, which its deleter may still shorten."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class GracePeriod:
    """Runs from its making. Must be made inside an event loop."""

    def __init__(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._limits: set[asyncio.Timeout] = set()

    def shorten(self, seconds: float) -> None:
        """Ends so many seconds from now, unless it ends earlier anyway."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + seconds)
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(self._deadline)

    @asynccontextmanager
    async def limit(self, *, at_least: float = 0.0) -> AsyncIterator[None]:
        """Raises `TimeoutError` when the body outlives the period; it always has `at_least` seconds."""
        earliest = asyncio.get_running_loop().time() + at_least
        async with asyncio.timeout_at(max(self._deadline, earliest)) as timeout:
            self._limits.add(timeout)
            try:
                yield
            finally:
                self._limits.discard(timeout)
