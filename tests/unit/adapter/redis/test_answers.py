"""Replies that cannot be what was asked for end in an error of ours, never in a number or a crash."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue
from ottoscaler.adapter.sources.redis.ids import format_id, parse_id, seconds_of
from ottoscaler.adapter.sources.redis.lists import ListSurvey
from ottoscaler.adapter.sources.redis.settings import RedisLists, RedisSettings
from ottoscaler.adapter.sources.redis.snapshot import Malformed
from ottoscaler.adapter.sources.redis.stream import StreamSurvey
from ottoscaler.adapter.sources.redis.survey import Moment, Survey

_MOMENT = Moment(1_790_000_000.0, 0.1)
_STREAM_INFO: list[Any] = [
    b"length", 3, b"last-generated-id", b"5-0", b"max-deleted-entry-id", b"0-0", b"entries-added", 5,
    b"groups", 1, b"first-entry", [b"3-0", [b"a", b"b"]], b"last-entry", [b"5-0", [b"a", b"b"]],
]  # fmt: skip
_GROUPS: list[Any] = [
    [
        b"name", b"workers", b"consumers", 1, b"pending", 1, b"last-delivered-id", b"1-0",
        b"entries-read", 1, b"lag", 4,
    ]
]  # fmt: skip
_SUMMARY: list[Any] = [1, b"1-0", b"1-0", [[b"pod-1", b"1"]]]


def _queue(**settings: Any) -> Queue[RedisSettings]:
    made = RedisSettings(url="redis://redis", **settings)
    return Queue(name="jobs", settings=made, interval=5.0, timeout=5.0, stalled_after=None)


def _stream() -> StreamSurvey:
    survey = StreamSurvey(_queue(stream="s", group="workers"))
    survey.begin()
    return survey


def test_what_belongs_together_is_a_reading() -> None:
    found = _stream().take([_STREAM_INFO, _GROUPS, _SUMMARY], _MOMENT, final=False)
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing, found.measured_at) == (3, 0, _MOMENT.sent)


_atoms = st.one_of(
    st.none(),
    st.integers(-5, 1 << 65),
    st.binary(max_size=12),
    st.sampled_from([b"length", b"name", b"workers", b"first-entry", b"last-generated-id", b"1-0", b"9-9"]),
    st.builds(ResponseError, st.sampled_from(["ERR no such key", "WRONGTYPE x", "NOGROUP x", ""])),
)
_replies = st.recursive(_atoms, lambda inner: st.lists(inner, max_size=6), max_leaves=20)


def _take(survey: Survey, replies: list[Any], *, final: bool) -> None:
    try:
        found = survey.take(replies, _MOMENT, final=final)
    except Malformed:
        return
    if isinstance(found, Reading):
        assert min(found.waiting, found.processing, found.stalled) >= 0
    elif isinstance(found, list):
        assert not final
    else:
        assert isinstance(found, ReadFailure)


@given(st.lists(_replies, max_size=4), st.booleans())
def test_no_replies_at_all_crash_a_stream(replies: list[Any], final: bool) -> None:
    _take(_stream(), replies, final=final)


@given(st.integers(0, 2), st.data(), st.booleans())
def test_no_single_reply_crashes_a_stream(place: int, data: st.DataObject, final: bool) -> None:
    replies: list[Any] = [list(_STREAM_INFO), [list(_GROUPS[0])], list(_SUMMARY)]
    target = replies[place][0] if place == 1 else replies[place]
    target[data.draw(st.integers(0, len(target) - 1))] = data.draw(_replies)
    _take(_stream(), replies, final=final)


@given(st.lists(_replies, max_size=3), st.booleans())
def test_no_replies_crash_lists(replies: list[Any], final: bool) -> None:
    survey = ListSurvey(_queue(lists=RedisLists(waiting=("a",), processing=("b",))))
    survey.begin()
    _take(survey, replies, final=final)


@given(st.integers(0, (1 << 128) - 1))
def test_ids_are_numbers_in_the_order_of_ids(number: int) -> None:
    assert parse_id(format_id(number).encode()) == number


@pytest.mark.parametrize(
    "text", [b"", b"1", b"1-", b"-1", b"1-2-3", b"a-b", b"1_0-0", b" 1-0", b"18446744073709551616-0"]
)
def test_what_is_no_id_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="not the id"):
        parse_id(text)


def test_an_id_says_when_its_entry_was_added() -> None:
    assert seconds_of(parse_id(b"1790000000123-4")) == 1790000000.123
