"""Long-lived tasks that survive their failures.

A backend that is away must not take the process with it, and must not be hammered while it is
away. `supervise` runs a coroutine for ever, waits between failures by a jittered exponential
backoff, and tells its owner of every failure, so that none is silent.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

Result = TypeVar("Result")


class Backoff:
    """Exponential delays with full-range jitter: each lies between half and all of the current step.

    `initial`, `maximum` and the delays are seconds. Jitter keeps replicas from coming back in step.
    """

    __slots__ = ("_factor", "_initial", "_maximum", "_random", "_step")

    def __init__(
        self,
        *,
        initial: float = 0.5,
        maximum: float = 30.0,
        factor: float = 2.0,
        rng: random.Random | None = None,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._random = rng or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._step = initial

    def limit(self, maximum: float) -> None:
        """From now on no delay is longer than `maximum` seconds."""
        self._maximum = maximum
        self._step = min(self._step, maximum)

    def next(self) -> float:
        """The delay before the next attempt; grows until `reset`."""
        step = self._step
        self._step = min(self._maximum, step * self._factor)
        return step * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """The last attempt worked: start again from the first step."""
        self._step = min(self._initial, self._maximum)


async def isolated(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, done by a task of its own: for loops that go on after its errors.

    When the caller is cancelled, `work` is cancelled and the caller's `CancelledError` goes on, whatever `work` makes of
    its own: gRPC reports a cancelled call as an error of the call, and a `TaskGroup` (Python 3.11) raises the failure of
    one of its tasks instead. Nor is the caller taken for cancelled where it was not: such a `TaskGroup` leaves
    `Task.cancelling()` raised in the task that it ran in.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, so that nobody is told that it was not
        raise
    return task.result()


async def supervise(
    run: Callable[[], Awaitable[None]],
    *,
    backoff: Backoff,
    on_failure: Callable[[Exception, float], None],
    healthy_after: float = 30.0,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Runs `run()` again whenever it ends, until cancelled.

    `on_failure(error, delay)` is called with each exception and the seconds until the next attempt.
    A run that lasted `healthy_after` seconds resets the backoff, as does the callee itself when it
    knows that it works (it shares the `Backoff`). A run that returns is started again after the same
    backoff, without a failure. Never returns; cancellation passes through.
    """
    while True:
        started = clock.monotonic()
        error: Exception | None = None
        try:
            await isolated(_awaited(run))
        except Exception as raised:  # the one place where everything is caught: this is the supervisor
            error = raised
        if clock.monotonic() - started >= healthy_after:
            backoff.reset()
        delay = backoff.next()
        if error is not None:
            on_failure(error, delay)
        await clock.sleep(delay)


async def _awaited(run: Callable[[], Awaitable[None]]) -> None:
    await run()


class TaskSet:
    """Tasks that come and go, each on its own: one that fails is reported and ends no other.

    A `TaskGroup` is the better choice where all must end together.
    """

    __slots__ = ("_on_failure", "_tasks")

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs `work` as a task of the set."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def wait(self, seconds: float | None = None) -> None:
        """Returns when all that run now have ended, or after `seconds`."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=seconds)

    async def cancel(self) -> None:
        """Cancels all, and returns when they have ended."""
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks))
