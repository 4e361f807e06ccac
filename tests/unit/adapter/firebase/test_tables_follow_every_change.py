"""Changes applied one by one give what a fresh look at the whole node would."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ottoscaler.adapter.reading import Held, Reading
from ottoscaler.adapter.sources.firebase_events import EventStream
from ottoscaler.adapter.sources.firebase_pruning import parse_node
from ottoscaler.adapter.sources.firebase_table import JobTable, NotAQueue, Unsettled
from tests.rtdb.database import Database, split_path
from tests.rtdb.events import Listener, encode
from tests.rtdb.values import InvalidData, shown
from tests.unit.adapter.firebase.trees import JOBS, KEYS, NODES, PATCHES, PUTS
from tests.unit.adapter.firebase.truth import Truth, judge

QUEUE = ("requestedJobs", "q")


def reading(table: JobTable) -> Reading | None:
    try:
        return table.reading("q", measured_at=1.0, stalled_after=None)
    except NotAQueue:
        return None


def as_truth(table: JobTable) -> Truth | None:
    """What the table says, in the words of the reference."""
    seen = reading(table)
    if seen is None:
        return None
    return Truth(
        waiting=seen.waiting,
        failed=seen.failed,
        other=seen.other,
        heartbeats=list(seen.heartbeats),
        held={(held.job, held.holder) for held in seen.held},
        created=[] if seen.oldest_waiting_at is None else [seen.oldest_waiting_at],
    )


def assert_true(table: JobTable, node: Any) -> None:
    truth = judge(node)
    if truth is not None:
        truth.created = [min(truth.created)] if truth.created else []
    assert as_truth(table) == truth


def whole(node: Any) -> JobTable:
    """A table made of the whole node at once."""
    parser = parse_node()
    parser.feed(encode(shown(node)).encode())
    table = JobTable()
    table.apply([((), parser.finish())])
    return table


class Follower:
    """A table at the end of a stream whose bytes come in pieces of any size."""

    def __init__(self, database: Database, sizes: st.DataObject) -> None:
        self._database = database
        self._sizes = sizes
        self.snapshots = 0
        self._open()

    def _open(self) -> None:
        self.snapshots += 1
        self.table = JobTable()
        self._stream = EventStream(max_event_bytes=1 << 20)
        self._listener = Listener(self._database, QUEUE, None)
        self._listener.open()
        self.catch_up()

    def catch_up(self) -> None:
        data = b""
        while not self._listener.outbox.empty():
            frame = self._listener.outbox.get_nowait()
            assert isinstance(frame, bytes)
            data += frame
        size = self._sizes.draw(st.integers(1, 40), label="bytes in a piece")
        try:
            for start in range(0, len(data), size):
                for event in self._stream.feed(data[start : start + size]):
                    assert isinstance(event, list)
                    self.table.apply(event)
        except Unsettled:
            self._listener.close()
            self._open()


@settings(max_examples=400, deadline=None)
@given(NODES, st.lists(st.one_of(PUTS, PATCHES), max_size=30), st.data())
def test_any_writes_at_any_depth(node: Any, writes: list[Any], data: st.DataObject) -> None:
    database = Database()
    database.put(QUEUE, node, now_ms=0)
    follower = Follower(database, data)
    assert_true(follower.table, database.get(QUEUE))
    for write in writes:
        before = whole(database.get(QUEUE))
        try:
            if isinstance(write, dict):
                database.patch(QUEUE, write, now_ms=0)
            else:
                database.put(QUEUE + write[0], write[1], now_ms=0)
        except InvalidData:  # paths of a patch that contain one another
            continue
        follower.catch_up()
        assert_true(follower.table, database.get(QUEUE))
        now = whole(database.get(QUEUE))
        assert follower.table.same_as(now)
        assert now.same_as(follower.table)
        if follower.table.same_as(before):
            assert as_truth(follower.table) == as_truth(before)


@settings(max_examples=150, deadline=None)
@given(NODES, st.integers(1, 64))
def test_a_whole_answer_in_pieces_of_any_size(node: Any, size: int) -> None:
    database = Database()
    database.put(QUEUE, node, now_ms=0)
    body = encode(shown(database.get(QUEUE))).encode()
    parser = parse_node()
    for start in range(0, len(body), size):
        parser.feed(body[start : start + size])
    table = JobTable()
    table.apply([((), parser.finish())])
    assert_true(table, database.get(QUEUE))


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(KEYS, JOBS, max_size=4),
    st.sampled_from([(), ("requestedJobs",), QUEUE]),
    NODES,
    st.data(),
)
def test_writes_above_the_queue_replace_it(
    jobs: dict[str, Any], above: tuple[str, ...], node: Any, data: st.DataObject
) -> None:
    database = Database()
    database.put(QUEUE, jobs, now_ms=0)
    follower = Follower(database, data)
    value = node
    for key in reversed(QUEUE[len(above) :]):
        value = {key: value}
    database.put(above, value, now_ms=0)
    follower.catch_up()
    assert_true(follower.table, database.get(QUEUE))


@pytest.mark.parametrize(
    ("before", "path", "value", "jobs"),
    [
        ({"a": {"inputs": "x"}}, "a/inputs", None, 0),
        ({"a": {"status": "pending"}}, "a/status", None, 0),
        ({"a": {"status": {"status": "pending"}}}, "a/status/status", None, 0),
        ({"a": {"status": "pending", "inputs": "x"}}, "a/status", None, 1),
        ({"a": {"inputs": {"deep": {"er": 1}}, "n": 1}}, "a/inputs/deep/er", None, 1),
        ({"a": {"n": 1}, "b": {"n": 1}}, "a", None, 1),
        ({}, "a/inputs/deep/er", 1, 1),
        ({"a": "text"}, "a/status", "pending", 1),
    ],
)
def test_a_job_is_there_while_anything_of_it_is(before: Any, path: str, value: Any, jobs: int) -> None:
    table = JobTable()
    database = Database()
    database.put(QUEUE, before, now_ms=0)
    listener = Listener(database, QUEUE, None)
    listener.open()
    database.put(QUEUE + split_path(path), value, now_ms=0)
    stream = EventStream(max_event_bytes=4096)
    while not listener.outbox.empty():
        for event in stream.feed(listener.outbox.get_nowait()):  # type: ignore[arg-type]
            table.apply(event)  # type: ignore[arg-type]
    assert len(table) == jobs
    assert_true(table, database.get(QUEUE))


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ({"a": {"inputs": {"one": 1, "two": 2}}}, ("a", "inputs", "one")),
        (
            {"a": {"n": 1, "assignedPodId": {"assignedPodId": {"x": 1}}}},
            ("a", "assignedPodId", "assignedPodId", "x"),
        ),
    ],
)
def test_what_a_change_leaves_open_is_not_guessed(before: Any, path: tuple[str, ...]) -> None:
    parser = parse_node()
    parser.feed(encode(before).encode())
    table = JobTable()
    table.apply([((), parser.finish())])
    with pytest.raises(Unsettled):
        table.apply([(path, None)])


def test_a_removal_inside_a_field_that_does_not_count_is_no_difference() -> None:
    followed = whole({"a": {"status": "pending", "inputs": {"one": 1, "two": 2}}, "b": {"n": 1}})
    followed.apply([(("a", "inputs", "one"), None)])
    assert followed.same_as(whole({"a": {"status": "pending", "inputs": {"two": 2}}, "b": {"n": 1}}))
    assert followed.same_as(whole({"a": {"status": "pending"}, "b": {"n": 1}}))
    assert not followed.same_as(whole({"a": {"status": "failed", "inputs": {"two": 2}}, "b": {"n": 1}}))
    assert not followed.same_as(whole({"a": {"inputs": {"two": 2}}, "b": {"n": 1}}))
    assert not followed.same_as(whole({"a": {"status": "pending"}}))


def test_the_oldest_waiting_job_is_followed() -> None:
    table = JobTable()
    at = {"a": 1_790_000_000_000, "b": 1_790_000_100_000, "c": 1_790_000_050_000}
    table.apply([((), {key: {"createdAt": ms} for key, ms in at.items()})])
    oldest = []
    for key in ("a", "c", "b"):
        seen = reading(table)
        assert seen is not None
        oldest.append(seen.oldest_waiting_at)
        table.apply([((key,), None)])
    assert oldest == [1_790_000_000.0, 1_790_000_050.0, 1_790_000_100.0]
    seen = reading(table)
    assert seen is not None
    assert (seen.waiting, seen.oldest_waiting_at) == (0, None)


def test_holders_are_named_whatever_the_state_of_their_job() -> None:
    table = JobTable()
    working = {"assignedPodId": "pod-1", "status": "processing", "lastHeartbeat": 5.0}
    claimed = {"assignedPodId": "pod-2", "status": "pending"}
    given_up = {"assignedPodId": "pod-3", "status": "failed"}
    table.apply([((), {"w": working, "c": claimed, "f": given_up})])
    seen = reading(table)
    assert seen is not None
    assert Counter(seen.held) == Counter([Held("w", "pod-1"), Held("c", "pod-2")])
