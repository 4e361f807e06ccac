"""Scale-ups that wait learn of later scale-downs, and the stream is read once for all of them."""

from typing import Any

from ottoscaler.orchestrator.events.entry import EntryId
from ottoscaler.orchestrator.events.later import LaterOrders
from ottoscaler.orchestrator.launch import Patience
from ottoscaler.runtime.clock import SYSTEM_CLOCK


class Entries:
    """A stream that counts how many entries were read."""

    source = "s\ng"

    def __init__(self) -> None:
        self.entries: list[tuple[EntryId, dict[bytes, bytes]]] = []
        self.read = 0

    def add(self, kind: str, task: str, count: object) -> EntryId:
        id_ = EntryId(1, len(self.entries))
        fields = {b"type": kind.encode(), b"task_id": task.encode(), b"pod_count": str(count).encode()}
        self.entries.append((id_, fields))
        return id_

    async def after(self, id_: EntryId, *, count: int) -> list[tuple[EntryId, dict[bytes, bytes]]]:
        found = [each for each in self.entries if each[0] > id_][:count]
        self.read += len(found)
        return found


def watched(stream: Entries) -> LaterOrders:
    there: Any = stream
    return LaterOrders(there, every=1.0, clock=SYSTEM_CLOCK)


def waits() -> Patience:
    patience = Patience()
    patience.waiting.set()
    return patience


async def test_only_later_scale_downs_of_the_same_task_count() -> None:
    stream = Entries()
    stream.add("scale_down", "a", 0)
    up = stream.add("scale_up", "a", 3)
    stream.add("scale_down", "b", 0)
    stream.add("scale_down", "a", "none")
    later, patience = watched(stream), waits()
    later.add(up, task_id="a", patience=patience)
    await later.look()
    assert not patience.curtailed.is_set()
    assert not patience.superseded.is_set()
    stream.add("scale_down", "a", 2)
    await later.look()
    assert patience.curtailed.is_set()
    assert not patience.superseded.is_set()
    stream.add("scale_down", "a", 0)
    await later.look()
    assert patience.superseded.is_set()


async def test_one_that_was_claimed_learns_of_what_others_have_passed() -> None:
    stream = Entries()
    old = stream.add("scale_up", "a", 1)
    stream.add("scale_down", "a", 0)
    new = stream.add("scale_up", "b", 1)
    later, claimed, newer = watched(stream), waits(), waits()
    later.add(new, task_id="b", patience=newer)
    await later.look()
    later.add(old, task_id="a", patience=claimed)
    await later.look()
    assert claimed.superseded.is_set()
    assert not newer.superseded.is_set()


async def test_a_thousand_that_wait_read_each_entry_once() -> None:
    stream = Entries()
    later = watched(stream)
    for number in range(1000):
        task = f"t-{number}"
        later.add(stream.add("scale_up", task, 1), task_id=task, patience=waits())
    for _ in range(10):
        await later.look()
    assert stream.read == 999


async def test_nothing_is_read_while_nobody_waits() -> None:
    stream = Entries()
    later = watched(stream)
    later.add(stream.add("scale_up", "a", 1), task_id="a", patience=Patience())
    stream.add("scale_down", "a", 0)
    await later.look()
    assert stream.read == 0
