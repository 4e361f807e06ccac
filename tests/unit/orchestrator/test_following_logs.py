"""Following a log through every kind of break, with a kubelet that does its worst."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.logs.follow import Follower, Read
from ottoscaler.orchestrator.logs.lines import Position
from ottoscaler.orchestrator.times import parse_time
from ottoscaler.runtime.kube import KubeError
from tests.unit.orchestrator.test_log_lines import BASE, stamp
from tests.virtual import VirtualClock

Break = tuple[str, float]
"""What happens to a request, and after which share of what it would have served."""


class Kubelet:
    """Serves one log; the requests break as told, then work."""

    def __init__(self, count: int, breaks: list[Break]) -> None:
        self.lines = [
            (BASE * 10**9 + number * 150_000_000, b"line %d" % number) for number in range(1, count + 1)
        ]
        self.breaks = breaks
        self.ended = False
        self.gone = False
        self.rotated = 0
        """So many of the oldest lines are not there any more."""
        self.requests = 0

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[bytes]:
        self.requests += 1
        if self.gone:
            raise KubeError(status=404, reason="NotFound", message="pods not found")
        what, share = self.breaks.pop(0) if self.breaks else ("works", 1.0)
        if what == "refused":
            raise KubeError(status=0, reason="Unreachable", message="refused")
        if what == "waiting":
            raise KubeError(status=400, reason="BadRequest", message="container is waiting to start")
        if what == "garbage":
            yield b"rpc error: code = Unknown\n"
            return
        since = (parse_time(params.get("sinceTime")) or 0.0) * 1e9
        content = b"".join(
            stamp(at) + b" " + text + b"\n" for at, text in self.lines[self.rotated :] if at >= since
        )
        upto = round(share * len(content))
        for start in range(0, upto, 37):
            yield content[start : min(upto, start + 37)]
        if what == "silent":
            await asyncio.Event().wait()
        if what == "torn":
            raise KubeError(status=0, reason="Unreachable", message="connection reset")
        if what == "works":
            self.ended = True

    def follower(self, position: Position | None = None) -> Follower:
        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)

        return Follower(
            kube=cast("Kube", self),
            namespace="n",
            pod="w-1",
            position=position,
            ended=lambda: self.ended,
            wait_for_change=wait,
            line_limit=1000,
            clock=VirtualClock(),
        )


async def collect(follower: Follower) -> list[Read]:
    return [each async for each in follower.read()]


def texts(reads: list[Read]) -> list[bytes]:
    return [each.line.text for each in reads if each.line is not None]


BREAKS = st.lists(
    st.tuples(
        st.sampled_from(["refused", "waiting", "garbage", "closed", "torn", "silent"]), st.floats(0, 1)
    ),
    max_size=8,
)


@given(count=st.integers(0, 60), breaks=BREAKS)
@settings(deadline=None)
def test_every_line_comes_once_and_in_order(count: int, breaks: list[Break]) -> None:
    kubelet = Kubelet(count, breaks)
    factory: Any = looptime.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        reads = runner.run(collect(kubelet.follower()))
    assert texts(reads) == [text for _, text in kubelet.lines]
    assert not [each.gap for each in reads if each.gap]


@pytest.mark.looptime
async def test_a_successor_reads_what_is_left() -> None:
    kubelet = Kubelet(20, [("torn", 0.5)])
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        if len(reads) == 7:
            break
    rest = await collect(kubelet.follower(reads[-1].position))
    assert texts(reads) + texts(rest) == [text for _, text in kubelet.lines]


@pytest.mark.looptime
async def test_lines_that_were_rotated_away_are_announced() -> None:
    kubelet = Kubelet(40, [("torn", 0.25)])
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        if len(reads) == 5:
            kubelet.rotated = 30
    (gap,) = [number for number, each in enumerate(reads) if each.gap]
    assert "rotated" in reads[gap].gap
    assert texts(reads[gap:]) == [b"line %d" % number for number in range(31, 41)]


@pytest.mark.looptime
async def test_a_pod_that_is_removed_in_the_middle_is_announced() -> None:
    kubelet = Kubelet(40, [("torn", 0.25)])
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        kubelet.gone = True
    assert "removed" in reads[-1].gap


@pytest.mark.looptime
async def test_a_pod_that_is_removed_after_its_log_ended_lost_nothing() -> None:
    kubelet = Kubelet(5, [])
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        if len(reads) == 5:
            kubelet.gone = True
    assert not [each.gap for each in reads if each.gap]


@pytest.mark.looptime
async def test_a_stream_that_hangs_after_the_end_is_left() -> None:
    kubelet = Kubelet(10, [("silent", 0.5)])
    kubelet.ended = True
    assert len(texts(await collect(kubelet.follower()))) == 10
    assert asyncio.get_running_loop().time() < 10


@pytest.mark.looptime
async def test_a_log_that_is_rotated_after_its_last_line_lost_nothing() -> None:
    """The file that is shown then is empty: nothing known comes again, and nothing is missing."""
    kubelet = Kubelet(12, [])
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        if len(reads) == 12:
            kubelet.rotated = 12
    assert texts(reads) == [text for _, text in kubelet.lines]
    assert len(reads) == 12
    assert kubelet.requests == 2


@pytest.mark.looptime
async def test_a_log_that_broke_off_and_is_rotated_away_is_announced_once() -> None:
    kubelet = Kubelet(12, [("torn", 0.5)])
    kubelet.ended = True
    reads = []
    async for read in kubelet.follower().read():
        reads.append(read)
        kubelet.rotated = 12
    assert [bool(each.gap) for each in reads] == [False] * (len(reads) - 1) + [True]


@pytest.mark.looptime
@pytest.mark.parametrize("trouble", ["refused", "garbage", "silent"])
async def test_a_log_that_cannot_be_read_any_more_is_given_up_and_announced(trouble: str) -> None:
    """Its node is gone, or its file: an ended worker does not stay for ever."""
    kubelet = Kubelet(12, [("torn", 0.5), *[(trouble, 0.0)] * 1000])
    kubelet.ended = True
    reads = await collect(kubelet.follower())
    assert reads[-1].gap.startswith("the log could not be read to its end: ")
    assert 60 <= asyncio.get_running_loop().time() < 120


@pytest.mark.looptime
async def test_as_long_as_the_worker_runs_its_log_is_asked_for() -> None:
    kubelet = Kubelet(12, [("refused", 0.0)] * 1000)
    following = asyncio.create_task(collect(kubelet.follower()))
    await asyncio.sleep(600)
    assert not following.done()
    kubelet.breaks.clear()
    assert texts(await following) == [text for _, text in kubelet.lines]
