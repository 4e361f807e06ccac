"""The `redis` block of a queue."""

from typing import Any

import msgspec
import pytest

from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisSettings

_URL = {"url": "redis://redis:6379/0"}


def _settings(**block: Any) -> RedisSettings:
    return msgspec.convert(_URL | block, RedisSettings)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({}, "either stream"),
        ({"stream": "s"}, "group is missing"),
        ({"stream": "s", "group": "g", "lists": {"waiting": ["l"]}}, "either stream"),
        ({"lists": {"waiting": ["l"]}, "group": "g"}, "group belongs to a stream"),
        ({"lists": {"waiting": ["l"]}, "missing": "empty"}, "missing belongs to a stream"),
        ({"lists": {"waiting": ["l"], "processing": ["l"]}}, "counted twice"),
        ({"lists": {"waiting": []}}, "length"),
        ({"stream": "s", "group": "g", "missing": "zero"}, "Invalid enum value"),
        ({"stream": "s", "group": "g", "streem": "t"}, "unknown field"),
        (
            {"url": "redis://a,b", "cluster": True, "lists": {"waiting": ["a"], "processing": ["b"]}},
            "hash tag",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(block: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        _settings(**block)


def test_lists_with_one_hash_tag_may_live_in_a_cluster() -> None:
    lists = {"waiting": ["{mail}:wait"], "processing": ["{mail}:active"]}
    assert _settings(url="redis://a,b", cluster=True, lists=lists).key == b"{mail}:wait"


def test_kinds_are_told_apart() -> None:
    assert BACKEND.kind(_settings(stream="s", group="g")) == "redis-stream"
    assert BACKEND.kind(_settings(lists={"waiting": ["l"]})) == "redis-list"


def test_queues_of_one_server_share_a_connection_whatever_they_count() -> None:
    stream, lists = _settings(stream="s", group="g"), _settings(lists={"waiting": ["l"]})
    other = _settings(stream="s", group="g", passwordVariable="P")
    assert BACKEND.connection(stream) == BACKEND.connection(lists)
    assert hash(BACKEND.connection(stream)) == hash(BACKEND.connection(lists))
    assert BACKEND.connection(stream) != BACKEND.connection(other)
