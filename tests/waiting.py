"""Waiting for something to become true, with a deadline, instead of sleeping for as long as it usually takes."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any


async def until(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]],
    *,
    within: float = 30.0,
    every: float = 0.02,
    what: str = "",
) -> Any:
    """What `condition()` (plain or coroutine) returns as soon as it is true.

    Asks every `every` seconds; raises `AssertionError` after `within` seconds of the loop's clock.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        if loop.time() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition}; last: {result!r}")
        await asyncio.sleep(every)
