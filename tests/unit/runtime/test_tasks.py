"""A supervised task survives its failures, says each of them, and never hammers."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.runtime.tasks import Backoff, supervise
from tests.virtual import VirtualClock
from tests.waiting import until


@given(
    seed=st.integers(0, 2**32),
    initial=st.floats(0.001, 10),
    factor=st.floats(1, 5),
    steps=st.integers(1, 50),
)
def test_delays_lie_between_half_and_all_of_a_step_that_grows_to_the_maximum(
    seed: int, initial: float, factor: float, steps: int
) -> None:
    backoff = Backoff(initial=initial, maximum=30, factor=factor, rng=random.Random(seed))
    step = initial
    for _ in range(steps):
        delay = backoff.next()
        assert step / 2 <= delay <= step
        step = min(30, step * factor)
    backoff.reset()
    assert backoff.next() <= initial


@pytest.mark.looptime
async def test_a_failing_run_is_started_again_with_growing_delays() -> None:
    failures: list[tuple[str, float]] = []
    starts: list[float] = []

    async def run() -> None:
        starts.append(asyncio.get_running_loop().time())
        raise ValueError(str(len(starts)))

    task = asyncio.create_task(
        supervise(
            run,
            backoff=Backoff(initial=1, maximum=8, rng=random.Random(1)),
            on_failure=lambda error, delay: failures.append((str(error), delay)),
            clock=VirtualClock(),
        )
    )
    await until(lambda: len(starts) >= 6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [words for words, _ in failures] == ["1", "2", "3", "4", "5", "6"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    for gap, (_, delay) in zip(gaps, failures, strict=False):
        assert gap == pytest.approx(delay, abs=0.01)
    assert all(delay <= 8 for _, delay in failures)
    assert failures[4][1] >= 4


@pytest.mark.looptime
async def test_a_run_that_lasted_starts_from_the_first_delay_again() -> None:
    delays: list[float] = []
    lasting = iter((0.0, 0.0, 0.0, 60.0, 0.0))

    async def run() -> None:
        await asyncio.sleep(next(lasting, 0.0))
        raise OSError

    task = asyncio.create_task(
        supervise(
            run,
            backoff=Backoff(initial=1, maximum=64, rng=random.Random(1)),
            on_failure=lambda _, delay: delays.append(delay),
            clock=VirtualClock(),
        )
    )
    await until(lambda: len(delays) >= 4, within=300)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert delays[2] >= 2
    assert delays[3] <= 1


@pytest.mark.looptime
async def test_cancellation_passes_through() -> None:
    async def run() -> None:
        await asyncio.sleep(3600)

    task = asyncio.create_task(supervise(run, backoff=Backoff(), on_failure=lambda *_: None))
    await asyncio.sleep(1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.looptime
async def test_a_cancellation_that_the_run_swallowed_ends_it_all_the_same() -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise OSError("a library's word for being cancelled") from None

    failures: list[Exception] = []
    task = asyncio.create_task(
        supervise(run, backoff=Backoff(), on_failure=lambda error, delay: failures.append(error))
    )
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (runs, failures) == (1, [])


@pytest.mark.looptime
async def test_a_run_whose_task_group_failed_is_no_cancellation() -> None:
    """In Python 3.11 such a group leaves `cancelling()` raised."""
    runs = 0

    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise OSError("one of its tasks")

    async def run() -> None:
        nonlocal runs
        runs += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    failures: list[Exception] = []
    task = asyncio.create_task(
        supervise(run, backoff=Backoff(), on_failure=lambda error, delay: failures.append(error))
    )
    await asyncio.sleep(60)
    assert runs == len(failures) >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
