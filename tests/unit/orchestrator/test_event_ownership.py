"""An event is ours to carry out for as long as Redis has lately said so."""

import asyncio
from collections.abc import Collection
from typing import cast

import pytest

from ottoscaler.orchestrator.events.consumer import EventConsumer, EventRules
from ottoscaler.orchestrator.events.entry import Entry, EntryId
from ottoscaler.orchestrator.events.stream import EventStream, Refreshed
from ottoscaler.orchestrator.launch import Launch, OrderLost, Patience
from ottoscaler.orchestrator.orders import ScaleUp
from ottoscaler.orchestrator.scaling import Scaler
from ottoscaler.orchestrator.telemetry import Telemetry
from tests.virtual import VirtualClock


class Stream:
    """Says that everything is ours while `ours`."""

    source = "s"
    ours = True

    async def refresh(self, ids: Collection[EntryId]) -> Refreshed:
        return Refreshed(set(ids) if self.ours else set(), set())


class Scaling:
    """Carries nothing out: it shows what patience it was told to have, and waits to be told of the loss."""

    def __init__(self) -> None:
        self.told: asyncio.Future[Patience] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()

    async def up(self, order: ScaleUp, patience: Patience) -> Launch:
        self.told.set_result(patience)
        await self.lost.wait()
        raise OrderLost


@pytest.mark.looptime
async def test_what_redis_said_of_an_event_holds_for_a_while() -> None:
    stream, scaling = Stream(), Scaling()
    clock, rules = VirtualClock(), EventRules()
    consumer = EventConsumer(
        stream=cast("EventStream", stream),
        scaler=cast("Scaler", scaling),
        rules=rules,
        telemetry=Telemetry(),
        clock=clock,
    )
    entry = Entry(id=EntryId(1, 0), fields={b"type": b"scale_up", b"task_id": b"t", b"pod_count": b"1"})
    consumer.take(entry, asked=clock.monotonic())
    patience = await scaling.told
    assert patience.confirmed()
    await clock.sleep(rules.fresh_for)
    assert not patience.confirmed()
    await patience.confirm()
    assert patience.confirmed()
    stream.ours = False
    await clock.sleep(rules.fresh_for)
    with pytest.raises(OrderLost):
        await patience.confirm()
    assert not patience.confirmed()
    scaling.lost.set()
