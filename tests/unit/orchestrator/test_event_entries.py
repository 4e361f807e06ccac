"""What an entry of the stream means, and what is said of one that means nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.events.entry import Entry, EntryId, read_order
from ottoscaler.orchestrator.orders import InvalidOrder, ScaleDown, ScaleUp

ID = EntryId(1_790_000_000_000, 3)
GOOD = {b"type": b"scale_up", b"task_id": b"task-123", b"pod_count": b"3"}


def read(fields: dict[bytes, bytes]) -> ScaleUp | ScaleDown:
    return read_order(Entry(id=ID, fields=fields), source="stream\ngroup", most=1000)


def test_a_scale_up() -> None:
    order = read(GOOD | {b"repository": b"acme/shop", b"reason": b"push", b"branch": "grün".encode()})
    assert isinstance(order, ScaleUp)
    assert (order.task_id, order.count) == ("task-123", 3)
    assert order.origin.event == "1790000000000-3"
    assert order.origin.at == 1_790_000_000.0
    assert order.facts.repository == "acme/shop"
    assert order.facts.metadata == {"branch": "grün"}


def test_a_scale_down_to_none() -> None:
    order = read({b"type": b"scale_down", b"task_id": b"t", b"pod_count": b" 0 "})
    assert isinstance(order, ScaleDown)
    assert order.keep == 0


def test_equal_ids_of_two_groups_are_two_orders() -> None:
    keys = {read_order(Entry(id=ID, fields=GOOD), source=source, most=9).origin.key for source in ("a", "b")}
    assert len(keys) == 2


MALFORMED: list[tuple[dict[bytes, bytes], str]] = [
    ({}, "type is missing"),
    ({b"type": b""}, "type is missing"),
    ({b"type": b"scale_sideways", b"task_id": b"t", b"pod_count": b"1"}, "type is 'scale_sideways'"),
    ({b"type": b"SCALE_UP", b"task_id": b"t", b"pod_count": b"1"}, "type is 'SCALE_UP'"),
    ({b"type": b"\xff\xfe", b"task_id": b"t", b"pod_count": b"1"}, "type is not UTF-8"),
    ({b"type": b"scale_up"}, "task_id is missing"),
    ({b"type": b"scale_up", b"pod_count": b"3"}, "task_id is missing"),
    ({b"type": b"scale_up", b"task_id": b"", b"pod_count": b"3"}, "task_id is missing"),
    ({b"type": b"scale_up", b"task_id": b" \t ", b"pod_count": b"3"}, "task_id is missing"),
    ({b"type": b"scale_up", b"task_id": b"\xc3\x28", b"pod_count": b"3"}, "task_id is not UTF-8"),
    ({b"type": b"scale_up", b"task_id": b"a\0b", b"pod_count": b"3"}, "NUL"),
    ({b"type": b"scale_up", b"task_id": b"x" * 1025, b"pod_count": b"3"}, "1025 characters"),
    ({b"type": b"scale_up", b"task_id": b"t"}, "pod_count is missing: say how many workers to create"),
    ({b"type": b"scale_down", b"task_id": b"t"}, "pod_count is missing: say how many workers may remain"),
    (GOOD | {b"pod_count": b""}, "pod_count is ''"),
    (GOOD | {b"pod_count": b"three"}, "pod_count is 'three': it must be a whole number"),
    (GOOD | {b"pod_count": b"3.0"}, "must be a whole number"),
    (GOOD | {b"pod_count": b"1e3"}, "must be a whole number"),
    (GOOD | {b"pod_count": b"0x10"}, "must be a whole number"),
    (GOOD | {b"pod_count": "٣".encode()}, "must be a whole number"),
    (GOOD | {b"pod_count": b"1_000"}, "must be a whole number"),
    (GOOD | {b"pod_count": b"--1"}, "must be a whole number"),
    (GOOD | {b"pod_count": b"9" * 400}, "must be a whole number"),
    (GOOD | {b"pod_count": b"\xff"}, "pod_count is not UTF-8"),
    (GOOD | {b"pod_count": b"0"}, "pod_count is 0: it must be at least 1"),
    (GOOD | {b"pod_count": b"-3"}, "pod_count is -3: it must be at least 1"),
    (GOOD | {b"pod_count": b"1001"}, "at most 1000 workers"),
    (GOOD | {b"pod_count": b"999999999999999999"}, "at most 1000 workers"),
    ({b"type": b"scale_down", b"task_id": b"t", b"pod_count": b"-1"}, "at least 0"),
    (GOOD | {b"reason": b"x" * 70_000}, "metadata: at most"),
    (GOOD | {b"note": b"x" * 70_000}, "metadata: at most"),
    (GOOD | {b"note": b"\x80"}, "note is not UTF-8"),
    (GOOD | {b"note": b"a\0"}, "NUL"),
    (GOOD | {b"repository": b"a\0"}, "NUL"),
    (GOOD | {b"\xff": b"x"}, "a field's name is not UTF-8"),
    (GOOD | {b"f%d" % number: b"" for number in range(300)}, "303 fields"),
    (GOOD | {b"task_id": "ü".encode() * 1025, b"pod_count": b"1"}, "1025 characters"),
    (GOOD | {b"task_id": b"t" * 300, b"pod_count": b"-1"}, "at least 1"),
    (GOOD | {b"task_id": "任务 №1".encode(), b"pod_count": b"many"}, "whole number"),
    ({b"TYPE": b"scale_up", b"TASK_ID": b"t", b"POD_COUNT": b"1"}, "type is missing"),
]


@pytest.mark.parametrize(("fields", "words"), MALFORMED)
def test_a_malformed_entry_is_refused_in_words(fields: dict[bytes, bytes], words: str) -> None:
    with pytest.raises(InvalidOrder) as caught:
        read(fields)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_there_are_forty_of_them() -> None:
    assert len(MALFORMED) == 40


@given(st.dictionaries(st.binary(max_size=12) | st.sampled_from(list(GOOD)), st.binary(max_size=40)))
def test_nothing_that_a_producer_writes_is_more_than_refused(fields: dict[bytes, bytes]) -> None:
    try:
        order = read(fields)
    except InvalidOrder:
        return
    assert order.task_id.strip()


@given(st.integers(0, 2**48), st.integers(0, 2**32), st.integers(0, 2**48), st.integers(0, 2**32))
def test_ids_are_in_the_streams_order(a: int, b: int, c: int, d: int) -> None:
    one, other = EntryId(a, b), EntryId(c, d)
    assert (one < other) == ((a, b) < (c, d))
    assert EntryId.parse(str(one)) == one
