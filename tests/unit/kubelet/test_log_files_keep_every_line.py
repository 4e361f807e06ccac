"""What a container writes is what a reader gets, in whatever pieces and files it passes."""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.kubelet.logs import LogOptions, LogReader
from tests.cluster.kubelet.runtime.logfile import LINE_BYTES, LogFile, StreamName, rotated

PIECES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(lambda times: b"x" * times, st.integers(0, 40_000)),
        st.builds(lambda times: b"line\n" * times, st.integers(0, 500)),
    ),
    max_size=8,
)
unhurried = settings(deadline=None)


def read(path: Path, **options: object) -> bytes:
    with closing(LogReader(path, LogOptions(**options))) as reader:  # type: ignore[arg-type]
        return b"".join(reader.available())


def with_line_end(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"


@unhurried
@given(PIECES)
def test_any_pieces_come_back_as_the_text_they_make(pieces: list[bytes]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "0.log"
        with closing(LogFile(path, max_bytes=1 << 30, max_files=2)) as log:
            for piece in pieces:
                log.write("stdout", piece)
        assert read(path) == with_line_end(b"".join(pieces))


@unhurried
@given(PIECES, st.integers(2_000, 40_000))
def test_a_follower_gets_everything_through_any_rotation(pieces: list[bytes], max_bytes: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "0.log"
        log = LogFile(path, max_bytes=max_bytes, max_files=10_000)
        with closing(LogReader(path, LogOptions(follow=True))) as reader:
            got = b""
            for piece in pieces:
                log.write("stdout", piece)
                got += b"".join(reader.available())
            log.close()
            got += b"".join(reader.available())
        assert got == with_line_end(b"".join(pieces))


@unhurried
@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=30)), max_size=30))
def test_timestamps_tell_lines_apart(pieces: list[tuple[StreamName, bytes]]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "0.log"
        with closing(LogFile(path, max_bytes=1 << 30, max_files=2)) as log:
            for stream, piece in pieces:
                log.write(stream, piece)
        stamps = [line.split(b" ", 1)[0] for line in path.read_bytes().split(b"\n")[:-1]]
    assert stamps == sorted(set(stamps))
    assert all(len(stamp) == len("2026-01-01T00:00:00.000000000Z") for stamp in stamps)


@unhurried
@given(st.integers(0, 30), st.integers(0, 40))
def test_the_tail_is_the_last_lines(lines: int, wanted: int) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "0.log"
        with closing(LogFile(path, max_bytes=1 << 30, max_files=2)) as log:
            log.write("stdout", b"".join(b"%d\n" % number for number in range(lines)))
        expected = [b"%d" % number for number in range(lines)][max(0, lines - wanted) :]
        assert read(path, tail=wanted).split() == expected


def test_the_two_streams_do_not_mix_their_unfinished_lines(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with closing(LogFile(path, max_bytes=1 << 30, max_files=2)) as log:
        log.write("stdout", b"to ")
        log.write("stderr", b"er")
        log.write("stdout", b"out\n")
        log.write("stderr", b"ror\n")
    assert read(path) == b"to out\nerror\n"
    assert [line.split(b" ")[1:3] for line in path.read_bytes().splitlines()] == [
        [b"stdout", b"F"],
        [b"stderr", b"F"],
    ]


def test_a_long_line_is_marked_as_pieces_of_one(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with closing(LogFile(path, max_bytes=1 << 30, max_files=2)) as log:
        log.write("stdout", b"x" * (LINE_BYTES + 1) + b"\n")
    assert [line.split(b" ")[2] for line in path.read_bytes().splitlines()] == [b"P", b"F"]
    assert read(path) == b"x" * (LINE_BYTES + 1) + b"\n"


def test_no_more_files_are_kept_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with closing(LogFile(path, max_bytes=1000, max_files=3)) as log:
        for _ in range(200):
            log.write("stdout", b"y" * 60 + b"\n")
    files = [*rotated(path), path]
    assert len(files) == 3
    assert all(file.stat().st_size <= 1000 for file in files)
