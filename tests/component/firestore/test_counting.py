"""Counts by aggregation agree with the contract, whatever the writers store."""

import asyncio
import random
from typing import Any

import pytest

from ottoscaler.adapter.reading import Held
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firebase_jobs import State, classify
from tests.component.firestore.harness import Spent, connected, fill, measure, queue
from tests.firestore.emulator import Emulator

NOW = 1_790_000_000.0
HELD = {
    "assignedPodId": "pod-1",
    "status": "processing",
    "lastHeartbeat": NOW,
    "createdAt": 1_789_000_000_000,
}
EVERY_KIND: dict[str, Any] = {
    "plain": {"createdAt": 1_790_000_000_000},
    "older": {"createdAt": 1_789_999_000_000, "status": "pending", "assignedPodId": ""},
    "null": {"status": "pending", "assignedPodId": None},
    "nested-waiting": {"status": {"status": "pending"}},
    "processing-unassigned": {"status": "processing"},
    "held": HELD,
    "held-nested": {
        "assignedPodId": {"assignedPodId": "pod-2"},
        "status": {"status": "processing"},
        "lastHeartbeat": {"lastHeartbeat": NOW + 1},
    },
    "claimed": {"assignedPodId": "pod-3"},
    "no-heartbeat": {"assignedPodId": "pod-4", "status": "processing"},
    "wrong-pod": {"assignedPodId": 7, "status": "processing", "lastHeartbeat": NOW},
    "failed": {"status": "failed", "createdAt": 1_700_000_000_000},
    "failed-held": {**HELD, "status": "failed"},
    "failed-nested": {"status": {"status": "failed"}},
    "failed-nested-held": {"status": {"status": "failed"}, "assignedPodId": "pod-5"},
    "empty": {},
}


async def test_an_empty_collection_holds_no_jobs(project: str) -> None:
    async with connected(project) as client:
        spent = Spent()
        reading = await measure(client, queue(project), spent=spent)
        assert (reading.waiting, reading.failed, reading.other, reading.heartbeats) == (0, 0, 0, ())
        assert reading.oldest_waiting_at is None
        assert spent.documents == 6, "the moment, four counts and one query, a read each"


@pytest.mark.parametrize("read", ["counts", "documents"])
async def test_every_kind_of_document(project: str, read: Any) -> None:
    async with connected(project) as client:
        await fill(client, EVERY_KIND)
        reading = await measure(client, queue(project, read=read))
    assert reading.waiting == 6
    assert reading.failed == 4
    assert reading.heartbeats == (NOW, NOW + 1)
    assert reading.other == 3
    assert set(reading.held) >= {Held("held", "pod-1"), Held("held-nested", "pod-2")}
    assert reading.oldest_waiting_at == 1_789_999_000.0
    counts = reading.counts(NOW + 300)
    assert (counts.processing, counts.stalled) == (1, 1)


async def test_random_collections_are_counted_as_their_documents_are_judged(project: str) -> None:
    seed = random.randrange(1_000_000)
    print("seed", seed)
    rng = random.Random(seed)
    kinds = list(EVERY_KIND.values())
    async with connected(project) as client:
        present: dict[str, Any] = {}
        for _ in range(8):
            change = {f"job-{rng.randrange(60)}": rng.choice([*kinds, None]) for _ in range(25)}
            await fill(client, change)
            present |= change
            states = [classify(document).state for document in present.values() if document is not None]
            for read in ("counts", "documents"):
                reading = await measure(client, queue(project, read=read))
                assert reading.waiting == states.count(State.WAITING)
                assert reading.failed == states.count(State.FAILED)
                assert reading.other == states.count(State.OTHER)
                assert len(reading.heartbeats) == states.count(State.HELD)


async def test_writers_that_set_a_status(project: str) -> None:
    documents = {
        "a": {"status": "pending", "createdAt": 1_790_000_001_000},
        "b": {"status": "queued", "createdAt": 1_790_000_000_000},
        "c": {"status": {"status": "pending"}},
        "d": HELD,
        "e": {"status": "failed"},
        "f": {"status": "unknown"},
    }
    async with connected(project) as client:
        await fill(client, documents)
        there = queue(project, waiting="status", waiting_states=("pending", "queued"))
        reading = await measure(client, there)
        assert (reading.waiting, reading.failed, reading.other) == (3, 1, 1)
        assert reading.oldest_waiting_at == 1_790_000_000.0
        without = await measure(client, queue(project, waiting="status", historic_fields=False))
        assert (without.waiting, without.other) == (1, 3)


async def test_writers_that_set_null(project: str) -> None:
    documents = {
        "a": {"assignedPodId": None, "createdAt": 1_790_000_000_000},
        "b": {"assignedPodId": None, "status": "failed", "createdAt": 1_700_000_000_000},
        "c": HELD,
        "d": {"status": "pending"},  # breaks the rule: such a document is not found
    }
    async with connected(project) as client:
        await fill(client, documents)
        reading = await measure(client, queue(project, waiting="null"))
    assert (reading.waiting, reading.failed, reading.other) == (1, 1, 1)
    assert reading.oldest_waiting_at == 1_790_000_000.0


async def test_the_oldest_job_costs_what_was_allowed(project: str) -> None:
    async with connected(project) as client:
        await fill(
            client,
            {f"failed-{n}": {"status": "failed", "createdAt": 1_700_000_000_000 + n} for n in range(9)},
        )
        await fill(client, {"a": {"createdAt": 1_790_000_000_000}})
        spent = Spent()
        reading = await measure(client, queue(project, oldest_within=5), spent=spent)
        assert (reading.waiting, reading.oldest_waiting_at) == (1, None)
        assert spent.documents == 11
        reading = await measure(client, queue(project, oldest_within=10))
        assert reading.oldest_waiting_at == 1_790_000_000.0
        spent = Spent()
        await measure(client, queue(project, oldest_within=0), spent=spent)
        assert spent.documents == 6


async def test_all_queries_are_as_of_one_moment(project: str, emulator: Emulator) -> None:
    """Jobs move from waiting to held and back while they are counted; their number never changes."""
    async with connected(project) as client:
        await fill(client, {f"job-{n}": {"status": "pending"} for n in range(20)})
        stop = asyncio.Event()

        async def writer() -> None:
            rng = random.Random(5)
            while not stop.is_set():
                name = f"job-{rng.randrange(20)}"
                await fill(client, {name: rng.choice([HELD, {"status": "pending"}])})

        task = asyncio.create_task(writer())
        try:
            for _ in range(25):
                reading = await measure(client, queue(project))
                assert reading.waiting + len(reading.heartbeats) == 20
                assert (reading.other, reading.failed) == (0, 0)
        finally:
            stop.set()
            await task


async def test_nested_collections_and_other_names(project: str) -> None:
    async with connected(project) as client:
        await client.document("queues/generator/jobs/a").set({"n": 1})
        there = queue(project)
        settings = type(there.settings)(collection="queues/generator/jobs", project=project)
        there = type(there)(name="q", settings=settings, interval=60, timeout=5, stalled_after=None)
        assert (await measure(client, there)).waiting == 1


async def test_a_call_is_bounded(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    async with connected(project) as client:
        with pytest.raises(SourceError) as raised:
            await measure(client, queue(project, timeout=1.0))
        assert raised.value.code == "unreachable"
