"""Whatever bytes come, a stream gives whole events, or an error of ours; never half an event, never a crash."""

import contextlib
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.adapter.sources.firebase_events import EventStream, Signal, StreamEvent, TooLarge
from ottoscaler.adapter.sources.firebase_jobs import Mark
from ottoscaler.adapter.sources.firebase_pruning import Malformed, parse_node


def feed(data: bytes, *, size: int = 10_000, limit: int = 10_000) -> list[StreamEvent]:
    stream = EventStream(max_event_bytes=limit)
    return [event for start in range(0, len(data), size) for event in stream.feed(data[start : start + size])]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b'event: put\ndata: {"path":"/","data":null}\n\n', [[((), None)]]),
        (b'event:put\ndata:{"path":"/a/b","data":5}\n\n', [[(("a", "b"), Mark.SOMETHING)]]),
        (b'event: put\r\ndata: {"path":"/","data":null}\r\n\r\n', [[((), None)]]),
        (b'event: put\ndata: {"path":"/",\ndata: "data":null}\n\n', [[((), None)]]),
        (b'event: put\ndata: {"path":"/","more":[{}],"data":null}\n\n', [[((), None)]]),
        (
            b'event: patch\ndata: {"path":"/a","data":{"status":"x","b/c":null}}\n\n',
            [[(("a", "status"), "x"), (("a", "b", "c"), None)]],
        ),
        (b"event: keep-alive\ndata: null\n\n", [Signal.KEEP_ALIVE]),
        (b"event: cancel\ndata: null\n\n", [Signal.CANCEL]),
        (b"event: auth_revoked\ndata: credential is no longer valid\n\n", [Signal.AUTH_REVOKED]),
        (b": a comment\n\nid: 5\nretry: 100\n\n", []),
        (b"event: something new\ndata: [not json\n\n", []),
        (b'event: put\ndata: {"path":"/","data":{"a":{"status":"x"}}}\n', []),
        (b'event: put\ndata: {"path":"/","data":{"a":{"stat', []),
    ],
)
def test_events(data: bytes, events: list[StreamEvent]) -> None:
    for size in (1, 2, 7, 10_000):
        assert feed(data, size=size) == events


@pytest.mark.parametrize(
    "data",
    [
        b'event: put\ndata: {"path":"/","data":nul}\n\n',
        b'event: put\ndata: {"path":"/","data":{"a":1}\n\n',
        b'event: put\ndata: {"path":"/","data":1} 2\n\n',
        b'event: put\ndata: {"data":1,"path":"/"}\n\n',
        b'event: put\ndata: {"path":5,"data":1}\n\n',
        b'event: put\ndata: {"path":"/"}\n\n',
        b'event: put\ndata: "text"\n\n',
        b"event: put\ndata:\n\n",
        b"event: put\n\n",
        b'event: patch\ndata: {"path":"/","data":5}\n\n',
        b'data: {"path":"/","data":1}\nevent: put\n\n',
        b"event: put\nevent: patch\n\n",
        b"<html>an error page</html>\n",
        b"x" * 5000,
        b'event: put\ndata: {"path":"/","data":"\xff"}\n\n',
        b'event: put\ndata: {"path":"/","data":{"a":{"n":1e99999999999999999999}}}\n\n',
        b'event: put\ndata: {"path":"/","data":{"a":{"createdAt":-1E-99999999999999999999}}}\n\n',
    ],
)
def test_what_is_no_event(data: bytes) -> None:
    for size in (1, 7, 10_000):
        with pytest.raises(Malformed):
            feed(data, size=size)


def test_an_event_has_a_limit_and_the_stream_has_none() -> None:
    event = b'event: put\ndata: {"path":"/","data":null}\n\n'
    assert len(feed(event * 100, limit=len(event))) == 100
    with pytest.raises(TooLarge):
        feed(event, limit=len(event) - 1)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes(data: bytes, size: int) -> None:
    with contextlib.suppress(Malformed, TooLarge):
        feed(data, size=size, limit=200)


@given(st.binary(max_size=200))
def test_any_bytes_inside_an_event(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        feed(b'event: put\ndata: {"path":"/","data":' + data + b"}\n\n", size=11)


@pytest.mark.parametrize(
    "body", [b"", b"nul", b"{", b'{"a":1', b"[1,2", b"<html>", b'{"a":1}}', b"1 2", b"1e99999999999999999999"]
)
def test_an_answer_that_is_no_json(body: bytes) -> None:
    parser = parse_node()
    with pytest.raises(Malformed):
        parser.feed(body)
        parser.finish()


def test_numbers_and_texts_of_any_size_are_read() -> None:
    parser = parse_node()
    parser.feed(
        b'{"a":{"lastHeartbeat":1e999,"createdAt":%b,"assignedPodId":"%b"},"b":{"x":%b}}'
        % (b"9" * 400, b"p" * 5000, b"[" * 5000 + b"1" + b"]" * 5000)
    )
    root = parser.finish()
    assert root["a"]["lastHeartbeat"] == float("inf")
    assert root["a"]["assignedPodId"] is Mark.SOMETHING
    assert root["b"]["x"] is Mark.SOMETHING


@pytest.mark.parametrize("size", [1, 1000, 1023, 1024, 1025, 5000, 1 << 20])
@pytest.mark.parametrize("digits", [1024, 1025, 2048, 4094, 4300, 4301, 5000, 20_000])
def test_digits_without_end_are_read(digits: int, size: int) -> None:
    """Whatever is around them is as it was."""
    many = b"9" * digits
    body = (
        b'{"a":{"lastHeartbeat":%b,"createdAt":1790000000000,"assignedPodId":"%b"},"b":{"x":-%b,"status":"new"},'
        b'"c":{"createdAt":0.%b,"lastHeartbeat":%b.5,"n":[%b,"\\u0031%b"],"status":"x"}}'
    ) % ((many,) * 7)
    parser = parse_node()
    for start in range(0, len(body), size):
        parser.feed(memoryview(body)[start : start + size])
    root = parser.finish()
    first, second, third = (root[key] for key in "abc")
    assert first["createdAt"] == 1_790_000_000_000
    assert first["lastHeartbeat"] > 10**1000
    assert first["assignedPodId"] == (Mark.SOMETHING if digits > 1024 else many.decode())
    assert second == {"x": Mark.SOMETHING, "status": "new"}
    assert third == {"createdAt": 1.0, "lastHeartbeat": float("inf"), "n": Mark.SOMETHING, "status": "x"}


@pytest.mark.parametrize("end", [b'"data":null}\n\n', b"", b"\xff}}\n\n", b'"data":{"a":[{"b":'])
def test_an_event_leaves_nothing_behind(end: bytes) -> None:
    """A cycle through the C parser would never be freed."""

    def left() -> int:
        gc.collect()
        return len(gc.get_objects())

    def once() -> None:
        with contextlib.suppress(Malformed):
            feed(b'event: put\ndata: {"path":"/",' + end)

    once()
    before = left()
    for _ in range(50):
        once()
    assert left() - before < 10
