"""Sources share connections, fail alone, come back by themselves, and change while they run."""

import asyncio

import pytest

from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.adapter.sources.base import SourceContext, SourceError
from ottoscaler.adapter.supervisor import Supervisor, patience
from tests.unit.adapter.fake_backend import BACKEND, FakeSource
from tests.unit.adapter.making import config, failure, queue, reading
from tests.virtual import VirtualClock
from tests.waiting import until

pytestmark = pytest.mark.looptime

TWO_SERVERS = """
queues:
  - {name: a, fake: {server: one}}
  - {name: b, fake: {server: two}}
  - {name: c, fake: {server: one}}
"""


class Running:
    """A supervisor with its readings, in virtual time."""

    def __init__(self) -> None:
        BACKEND.sources.clear()
        self.clock = VirtualClock()
        self.readings = Readings(self.clock)
        self.supervisor = Supervisor(self.readings, SourceContext(clock=self.clock, environ={}))

    async def apply(self, text: str) -> None:
        self.supervisor.apply(config(text))
        await asyncio.sleep(0.01)

    def source(self, server: str) -> FakeSource:
        return next(source for source in reversed(BACKEND.sources) if source.server == server)

    def state(self, name: str) -> QueueState:
        state = self.readings.get(name)
        assert state is not None
        return state


async def test_queues_that_share_a_connection_share_a_source() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply(TWO_SERVERS)
        assert len(BACKEND.sources) == 2
        assert [q.name for q in run.source("one").queues] == ["a", "c"]
        assert [q.name for q in run.source("two").queues] == ["b"]
    assert not any(source.running for source in BACKEND.sources)


async def test_a_source_that_fails_as_a_whole_fails_its_queues_and_no_others() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply(TWO_SERVERS)
        run.source("two").publish(reading("b", at=run.clock.time(), waiting=1))
        run.source("one").fail(SourceError("refused", code="unreachable"))
        await asyncio.sleep(0.01)
        for name in ("a", "c"):
            broken = run.state(name).failure
            assert broken is not None
            assert (broken.reason, broken.code) == ("refused", "unreachable")
        assert run.state("b").failure is None
        await until(lambda: run.source("one").runs == 2, what="started again")
        assert run.source("two").runs == 1
        assert run.supervisor.restarts == {"fake": 1}


async def test_delays_grow_to_one_interval_while_a_source_fails_and_start_again_after_a_reading() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply("queues: [{name: a, interval: 8s, fake: {}}]")
        source = run.source("one")
        delays = []
        for life in range(1, 7):
            died = run.clock.monotonic()
            source.fail(SourceError("refused"))
            await until(lambda life=life: source.runs == life + 1, within=60, every=0.005)
            delays.append(run.clock.monotonic() - died)
        assert 0.2 < delays[0] < 0.6
        assert delays[-1] > 2
        assert max(delays) <= 8.01, "a backend that is back is read within one interval"
        source.publish(reading("a", at=run.clock.time()))
        died = run.clock.monotonic()
        source.fail(SourceError("refused"))
        await until(lambda: source.runs == 8, within=60, every=0.005)
        assert run.clock.monotonic() - died < 0.6


async def test_an_error_that_nobody_foresaw_is_survived_and_tells_people_nothing_of_its_text() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply("queues: [{name: a, fake: {}}]")
        run.source("one").fail(RuntimeError("redis://:hunter2@redis"))
        await asyncio.sleep(0.01)
        broken = run.state("a").failure
        assert broken is not None
        assert broken.reason == "an internal error of its source; the log has it"
        await until(lambda: run.source("one").runs == 2)


async def test_a_source_that_says_nothing_is_started_again_before_its_readings_are_too_old() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply("queues: [{name: a, fake: {}}]")
        run.source("one").publish(reading("a", at=run.clock.time()))
        await asyncio.sleep(149)
        assert run.source("one").runs == 1
        await asyncio.sleep(4)
        assert run.source("one").runs == 2
        broken = run.state("a").failure
        assert broken is not None
        assert broken.reason == "the backend has not answered for too long"


async def test_a_source_that_says_anything_is_left_alone() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply("queues: [{name: a, fake: {}}]")
        for _ in range(20):
            await asyncio.sleep(100)
            run.source("one").publish(failure("a", at=run.clock.time()))
        assert run.source("one").runs == 1


def test_patience_covers_half_the_age_limit_and_three_rounds() -> None:
    assert patience([queue("a", max_age=300)]) == 150
    assert patience([queue("a", max_age=20)]) == 3 * (5 + 10)


async def test_a_reload_changes_what_must_change_and_nothing_else() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply(TWO_SERVERS)
        one, two = run.source("one"), run.source("two")
        for source, name in ((one, "a"), (one, "c"), (two, "b")):
            source.publish(reading(name, at=run.clock.time(), waiting=3))
        await run.apply("""
            queues:
              - {name: a, fake: {server: one}}
              - {name: d, fake: {server: one}}
              - {name: e, fake: {server: three}}
            """)
        assert run.source("one") is one
        assert one.runs == 1
        assert [q.name for q in one.queues] == ["a", "d"]
        assert not two.running
        assert run.source("three").running
        kept = run.state("a").reading
        assert kept is not None
        assert kept.waiting == 3
        assert [state.config.name for state in run.readings] == ["a", "d", "e"]
        one.publish(reading("c", at=run.clock.time()))
        two.publish(reading("b", at=run.clock.time()))
        assert run.readings.get("b") is run.readings.get("c") is None


async def test_a_queue_that_moved_is_no_longer_its_old_sources_to_speak_of() -> None:
    run = Running()
    async with run.supervisor:
        await run.apply("queues: [{name: a, fake: {server: one}}]")
        old = run.source("one")
        await run.apply("queues: [{name: a, fake: {server: two}}]")
        old.publish(reading("a", at=run.clock.time(), waiting=99))
        assert run.state("a").reading is None
        run.source("two").publish(reading("a", at=run.clock.time(), waiting=1))
        assert run.state("a").reading is not None
