"""A log is read once and in order however it is cut, and wherever reading breaks off."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.logs.lines import Line, LineSplitter, Position, Progress

BASE = 1_790_000_000


def stamp(at: int, *, zone: str = "Z", digits: int = 9) -> bytes:
    """RFC 3339 with nanoseconds, as the kubelet writes it."""
    seconds, fraction = divmod(at, 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}"[: len(text) + 1 + digits].encode() + zone.encode()


def encode(lines: list[Line]) -> bytes:
    return b"".join(stamp(line.at) + b" " + line.text + b"\n" for line in lines)


@st.composite
def logs(draw: st.DrawFn) -> list[Line]:
    """Lines whose stamps mostly grow: neighbours may share one, or stand in the wrong order by a little."""
    at = BASE * 10**9
    lines = []
    for number in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0, 0, 1, 1000, 10**8, 10**9, -500]))
        text = draw(st.sampled_from([b"", b"same", b"%d" % number]))
        lines.append(Line(at, text))
    return lines


@given(logs(), st.lists(st.integers(1, 60), max_size=40))
def test_lines_do_not_depend_on_how_the_stream_is_cut(lines: list[Line], cuts: list[int]) -> None:
    content, splitter, got = encode(lines), LineSplitter(limit=1000), []
    for cut in cuts:
        got += splitter.feed(content[:cut])
        content = content[cut:]
    got += splitter.feed(content)
    assert [line for line, _ in got] == lines


@given(logs(), st.lists(st.floats(0, 1), max_size=6))
def test_reading_again_after_a_break_loses_and_repeats_nothing(
    lines: list[Line], breaks: list[float]
) -> None:
    progress, got = Progress(), []
    for share in [*breaks, 1.0]:
        progress.resume()
        since = 0 if progress.position is None else (progress.position.at // 10**9 - 1) * 10**9
        served = [line for line in lines if line.at >= since]
        for line in served[: round(share * len(served))]:
            if progress.accept(line):
                assert not progress.lost
                got.append(line)
    assert got == lines


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 39))
def test_a_successor_goes_on_at_the_position_it_was_left(steps: list[int], at: int) -> None:
    """Stamps of one process's lines never go back, so the stamp and its repeats are enough."""
    moments = [BASE * 10**9 + sum(steps[: number + 1]) for number in range(len(steps))]
    lines = [Line(moment, b"%d" % number) for number, moment in enumerate(moments)]
    first = Progress()
    done = [line for line in lines[:at] if first.accept(line)]
    successor = Progress(first.position)
    successor.resume()
    assert done + [line for line in lines if successor.accept(line)] == lines


def test_a_log_that_was_rotated_away_is_noticed() -> None:
    progress = Progress()
    assert progress.accept(Line(10, b"a"))
    progress.resume()
    assert progress.accept(Line(99, b"z"))
    assert progress.lost
    progress.found()
    assert not progress.lost


def test_a_long_line_is_cut_and_what_was_cut_is_counted() -> None:
    splitter = LineSplitter(limit=10)
    (got,) = splitter.feed(stamp(BASE * 10**9) + b" " + b"x" * 500 + b"\n")
    line, cut = got
    assert line.text == b"x" * 10
    assert cut == 490
    ((after, none),) = splitter.feed(stamp(BASE * 10**9) + b" short\n")
    assert (after.text, none) == (b"short", 0)


def test_a_line_without_its_end_comes_last() -> None:
    splitter = LineSplitter(limit=10)
    assert splitter.feed(stamp(BASE * 10**9) + b" torn") == []
    ((line, _),) = splitter.finish()
    assert line.text == b"torn"
    assert splitter.finish() == []


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"2026-11-21T10:00:00Z x", 1_795_255_200 * 10**9),
        (b"2026-11-21T10:00:00.5Z x", 1_795_255_200 * 10**9 + 5 * 10**8),
        (b"2026-11-21T10:00:00.000000001Z x", 1_795_255_200 * 10**9 + 1),
        (b"2026-11-21T12:00:00.25+02:00 x", 1_795_255_200 * 10**9 + 25 * 10**7),
        (b"2026-11-21T05:30:00-04:30 x", 1_795_255_200 * 10**9),
    ],
)
def test_stamps_of_every_kind(text: bytes, at: int) -> None:
    ((line, _),) = LineSplitter(limit=10).feed(text + b"\n")
    assert line == Line(at, b"x")


def test_what_is_no_log_is_not_taken_for_one() -> None:
    with pytest.raises(ValueError, match="without a time stamp"):
        LineSplitter(limit=100).feed(b"unable to retrieve container logs\n")


def test_a_position_says_what_to_ask_for() -> None:
    assert Position(1_795_255_200 * 10**9 + 999, 1).since == "2026-11-21T09:59:59Z"


def test_the_end_of_a_long_line_whose_beginning_is_known_is_skipped() -> None:
    splitter = LineSplitter(limit=100, torn=True)
    assert splitter.feed(b"the rest of it\n") == []
    ((line, _),) = splitter.feed(stamp(BASE * 10**9) + b" next\n")
    assert line.text == b"next"
    with pytest.raises(ValueError, match="without a time stamp"):
        splitter.feed(b"and nothing else\n")


def test_an_error_in_the_place_of_a_log_is_not_taken_for_the_end_of_a_line() -> None:
    splitter = LineSplitter(limit=100, torn=True)
    assert splitter.feed(b"unable to retrieve container logs\n") == []
    with pytest.raises(ValueError, match="unable to retrieve"):
        splitter.finish()
    with pytest.raises(ValueError, match="unable to retrieve"):
        splitter.feed(b"for containerd://x\n")


def test_behind_the_last_known_line_an_earlier_stamp_is_new() -> None:
    """stdout and stderr are stamped apart; a successor knows one line of one of them."""
    successor = Progress(Position(1000, 1))
    successor.resume()
    log = [
        Line(900, b"old"),
        Line(1000, b"known"),
        Line(999, b"new, of the other stream"),
        Line(1001, b"new"),
    ]
    assert [line.text for line in log if successor.accept(line)] == [b"new, of the other stream", b"new"]
