"""Events that are trimmed from the stream while a replica carries them out: who goes on, and who may not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import RedisClusterException

from ottoscaler.orchestrator.events.consumer import EventConsumer, EventRules
from ottoscaler.orchestrator.events.entry import Entry, EntryId
from ottoscaler.orchestrator.events.stream import Refreshed
from ottoscaler.orchestrator.launch import Launch, Patience
from ottoscaler.orchestrator.telemetry import Telemetry
from tests.virtual import VirtualClock

ID = EntryId(1_790_000_000_000, 0)
ENTRY = Entry(id=ID, fields={b"type": b"scale_up", b"task_id": b"t", b"pod_count": b"1"})
RULES = EventRules(claim_idle=15.0)


class Trimmed:
    """A stream that delivers one entry and forgets it at once. It does not answer while `away`."""

    stream, group, consumer, dead, source = "s", "g", "c", "s:dead", "s\ng"

    def __init__(self) -> None:
        self.away = False
        self.kept = True
        """Whether the entry is still in the stream, acknowledged by somebody else."""
        self.delivered = False
        self.letters: list[str] = []
        self.acknowledged: list[EntryId] = []

    def _check(self) -> None:
        if self.away:
            raise RedisClusterException("no node answers")

    async def ensure_group(self) -> None:
        self._check()

    async def own(self, *, after: EntryId | None, count: int) -> list[Entry]:
        self._check()
        return []

    async def read(self, *, count: int, block: float) -> list[Entry]:
        self._check()
        if not self.delivered:
            self.delivered = True
            return [ENTRY]
        await asyncio.sleep(block)
        self._check()
        return []

    async def refresh(self, ids: Any) -> Refreshed:
        self._check()
        return Refreshed(set(), set() if self.kept else set(ids))

    async def acknowledge(self, ids: Any) -> None:
        self._check()
        self.acknowledged += ids

    async def bury(self, entry: Entry, *, reason: str, at: float) -> None:
        self._check()
        assert entry is ENTRY
        self.letters.append(reason)


class Waits:
    """A scaler whose one worker has room after `seconds`, and is created if the order is still ours."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.created = 0

    async def up(self, order: Any, patience: Patience) -> Launch:
        await asyncio.sleep(self.seconds)
        await patience.confirm()
        self.created += 1
        return Launch(wanted=("w",), created=["w"])


@asynccontextmanager
async def consuming(stream: Any, scaler: Any) -> AsyncIterator[tuple[EventConsumer, Telemetry]]:
    telemetry = Telemetry()
    consumer = EventConsumer(
        stream=stream, scaler=scaler, rules=RULES, telemetry=telemetry, clock=VirtualClock()
    )
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer, telemetry
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def counted(telemetry: Telemetry, outcome: str) -> float:
    labels = {"type": "scale_up", "outcome": outcome}
    return telemetry.registry.get_sample_value("otto_events_total", labels) or 0.0


@pytest.mark.looptime
@pytest.mark.parametrize("outage", [0.0, 600.0])
async def test_who_has_the_event_goes_on_with_it(outage: float) -> None:
    """Also through an outage that begins when it is known that nobody else can take the event over."""
    stream, scaler = Trimmed(), Waits(1800)
    stream.kept = False
    async with consuming(stream, scaler) as (_, telemetry):
        await asyncio.sleep(60)
        stream.away = outage > 0
        await asyncio.sleep(outage)
        stream.away = False
        await asyncio.sleep(1800)
        assert scaler.created == 1
        assert stream.acknowledged == [ID]
        assert not stream.letters
        assert counted(telemetry, "done") == 1


@pytest.mark.looptime
async def test_whose_event_was_acknowledged_by_another_stops() -> None:
    stream, scaler = Trimmed(), Waits(60)
    async with consuming(stream, scaler) as (consumer, _):
        await asyncio.sleep(100)
        assert scaler.created == 0
        assert not stream.letters
        assert consumer.in_flight == 0


@pytest.mark.looptime
async def test_who_was_silent_for_long_leaves_it_to_people() -> None:
    """Another may have claimed the event and carried it out before it was trimmed."""
    stream, scaler = Trimmed(), Waits(60)
    stream.kept = False
    async with consuming(stream, scaler) as (_, telemetry):
        await asyncio.sleep(0.1)
        stream.away = True
        await asyncio.sleep(30)
        stream.away = False
        await asyncio.sleep(100)
        assert scaler.created == 0
        (letter,) = stream.letters
        assert letter.startswith("trimmed from the stream while we could not ask Redis")
        assert counted(telemetry, "trimmed") == 1


@pytest.mark.looptime
async def test_a_replica_that_leaves_writes_down_what_only_it_knows() -> None:
    stream, scaler = Trimmed(), Waits(1000)
    stream.kept = False
    async with consuming(stream, scaler) as (consumer, telemetry):
        await asyncio.sleep(60)
        await consumer.stop(5.0)
        await asyncio.sleep(2000)
        assert scaler.created == 0
        (letter,) = stream.letters
        assert letter == "trimmed from the stream, and the replica that was carrying it out was stopped"
        assert counted(telemetry, "trimmed") == 1
