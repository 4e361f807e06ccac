"""One call in flight for everybody who asks the same question at the same time.

When a cached answer expires, each of the requests in flight would otherwise ask the API server on its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class _Flight(Generic[Answer]):
    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.waiting = 0


class SharedCalls(Generic[Answer]):
    """Calls in flight by question.

    Whoever leaves (a client that hangs up) does not disturb the others; the call is cancelled with the
    last of them, so that no task outlives those who wait for it.
    """

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Answer]] = {}

    async def __call__(self, question: Hashable, call: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """What `call()` returns or raises, or what the same question's call in flight does."""
        flight = self._flights.get(question)
        if flight is None:
            flight = self._flights[question] = _Flight(asyncio.create_task(call()))
            flight.task.add_done_callback(_mark_retrieved)
        flight.waiting += 1
        try:
            await asyncio.wait((flight.task,))
            return flight.task.result()
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 or flight.task.done():
                flight.task.cancel()
                if self._flights.get(question) is flight:
                    del self._flights[question]


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    """A failure that came when its last waiter had just left is nobody's, not a lost one."""
    if not task.cancelled():
        task.exception()
