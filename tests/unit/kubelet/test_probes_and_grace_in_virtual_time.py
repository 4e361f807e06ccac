"""When probes look and what counts; how long a pod has to end. Minutes pass in milliseconds."""

import asyncio
from typing import Any

import pytest

from tests.cluster.kubelet.grace import GracePeriod
from tests.cluster.kubelet.probers import Probers
from tests.cluster.kubelet.probes import Probe, ProbeKind
from tests.cluster.kubelet.runtime.protocol import Output

pytestmark = pytest.mark.looptime


class Program:
    """Answers from `up_at` to `down_at` seconds; remembers when it was asked."""

    def __init__(self, *, up_at: float, down_at: float = float("inf")) -> None:
        self._up_at = up_at
        self._down_at = down_at
        self.asked: list[float] = []

    async def execute(self, _command: list[str], _timeout: float) -> Output:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        return Output(code=0 if self._up_at <= now < self._down_at else 1, text="")


async def verdicts(
    kind: ProbeKind, program: Program, *, until: float, **probe: Any
) -> list[tuple[Any, bool]]:
    """The changes of verdict with their times, until that time."""
    loop = asyncio.get_running_loop()
    changes: list[tuple[Any, bool]] = []

    async def collect() -> None:
        container: dict[str, Any] = {kind: {"exec": {"command": ["ask"]}} | probe}
        async with Probers() as probers:
            watched = Probe(kind, container, address="", probers=probers, execute=program.execute)
            async for verdict, _ in watched.verdicts():
                if verdict is not None and (not changes or changes[-1][1] != verdict):
                    changes.append((loop.time(), verdict))

    collecting = asyncio.create_task(collect())
    await asyncio.sleep(until)
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    return changes


async def test_the_first_answer_is_seen_within_half_a_second() -> None:
    changes = await verdicts("readinessProbe", Program(up_at=3.0), until=60, periodSeconds=30)
    assert changes[0][1] is True
    assert 3.0 <= changes[0][0] <= 3.5


async def test_a_program_that_never_answers_fails_by_its_period_and_threshold() -> None:
    changes = await verdicts(
        "startupProbe", Program(up_at=1e9), until=200, periodSeconds=10, failureThreshold=4
    )
    assert changes[0] == (pytest.approx(40, abs=0.1), False)


async def test_extra_looks_end_after_twenty_seconds() -> None:
    program = Program(up_at=1e9)
    await verdicts("readinessProbe", program, until=120, periodSeconds=10)
    late = [moment for moment in program.asked if moment > 21]
    assert [round(moment) for moment in late] == [30, 40, 50, 60, 70, 80, 90, 100, 110, 120][: len(late)]


async def test_one_that_answered_is_looked_at_by_its_period() -> None:
    program = Program(up_at=0, down_at=50)
    changes = await verdicts("readinessProbe", program, until=100, periodSeconds=10, failureThreshold=3)
    assert changes == [(pytest.approx(0, abs=0.1), True), (pytest.approx(70, abs=0.5), False)]
    assert len(program.asked) <= 12


async def test_liveness_counts_from_its_first_look() -> None:
    probe = {"periodSeconds": 5, "failureThreshold": 2, "initialDelaySeconds": 7}
    changes = await verdicts("livenessProbe", Program(up_at=1e9), until=60, **probe)
    assert changes == [(pytest.approx(12, abs=0.1), False)]


async def test_a_success_threshold_wants_that_many_in_a_row() -> None:
    changes = await verdicts(
        "readinessProbe", Program(up_at=0), until=60, periodSeconds=10, successThreshold=3
    )
    assert changes[0] == (pytest.approx(20, abs=0.1), True)


async def test_a_grace_period_ends_a_wait() -> None:
    loop = asyncio.get_running_loop()
    grace = GracePeriod(30)
    with pytest.raises(TimeoutError):
        async with grace.limit():
            await asyncio.sleep(1000)
    assert loop.time() == pytest.approx(30, abs=0.1)


async def test_a_grace_period_is_shortened_under_a_wait_and_never_lengthened() -> None:
    loop = asyncio.get_running_loop()
    grace = GracePeriod(7200)
    loop.call_later(10, grace.shorten, 5.0)
    loop.call_later(11, grace.shorten, 500.0)
    with pytest.raises(TimeoutError):
        async with grace.limit():
            await asyncio.sleep(10_000)
    assert loop.time() == pytest.approx(15, abs=0.1)


async def test_a_wait_always_gets_what_it_needs_at_least() -> None:
    loop = asyncio.get_running_loop()
    grace = GracePeriod(1)
    await asyncio.sleep(5)
    with pytest.raises(TimeoutError):
        async with grace.limit(at_least=2):
            await asyncio.sleep(1000)
    assert loop.time() == pytest.approx(7, abs=0.1)
