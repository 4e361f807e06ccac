"""Reading containers' logs for `kubectl logs`.

As a kubelet: only the current file is shown, rotated ones are not; a follower goes on through
rotations, file by file, until the container ends (`kuberuntime/logs/logs.go`).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.inotify import DirectoryWatcher
from tests.cluster.kubelet.runtime.logfile import rotated
from tests.cluster.kubelet.runtime.protocol import Exit

_CHUNK = 1 << 18


class BadLogOptions(Exception):
    """A parameter of the request cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """`PodLogOptions`. `since` is a log timestamp: earlier lines are left out."""

    follow: bool = False
    timestamps: bool = False
    previous: bool = False
    tail: int | None = None
    since: bytes = b""
    limit: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "LogOptions":
        """From the parameters that the API server passes on. Raises `BadLogOptions`."""
        try:
            since = b""
            if text := query.get("sinceTime"):
                since = _stamp(timestamps.parse(text))
            elif text := query.get("sinceSeconds"):
                since = _stamp(timestamps.now() - timedelta(seconds=int(text)))
            return cls(
                follow=query.get("follow") == "true",
                timestamps=query.get("timestamps") == "true",
                previous=query.get("previous") == "true",
                tail=int(query["tailLines"]) if "tailLines" in query else None,
                since=since,
                limit=int(query["limitBytes"]) if "limitBytes" in query else None,
            )
        except ValueError as error:
            raise BadLogOptions(str(error)) from error


class LogReader:
    """A log from a position on, through every file that it is rotated into.

    Raises `FileNotFoundError` when there is no such log.
    """

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._file: BinaryIO = path.open("rb")
        self._unfinished = b""
        self._line_begins = True
        if options.tail is not None:
            self._file.seek(_tail_start(self._file, options.tail))

    def close(self) -> None:
        self._file.close()

    def available(self) -> Iterator[bytes]:
        """The text of what was written since the last call, in pieces."""
        while True:
            yield from self._rest_of_file()
            successor = self._successor()
            if successor is None:
                return
            yield from self._rest_of_file()  # what came between our look and the rotation
            self._file.close()
            self._file = successor

    def _rest_of_file(self) -> Iterator[bytes]:
        while data := self._file.read(_CHUNK):
            *lines, self._unfinished = (self._unfinished + data).split(b"\n")
            yield b"".join(map(self._text, lines))

    def _successor(self) -> BinaryIO | None:
        """The file after ours; None while ours is the newest, and in the middle of a rotation."""
        own = os.fstat(self._file.fileno()).st_ino
        try:
            if self._path.stat().st_ino == own:
                return None
            files = [*rotated(self._path), self._path]
            places = [place for place, file in enumerate(files) if file.stat().st_ino == own]
            return files[places[0] + 1 if places else 0].open("rb")
        except FileNotFoundError:
            return None  # the directory changes under our eyes: that wakes us again

    def _text(self, line: bytes) -> bytes:
        stamp, _, rest = line.partition(b" ")
        _stream, tag, text = rest.split(b" ", 2)
        begins, self._line_begins = self._line_begins, tag != b"P"
        if stamp < self._options.since:
            return b""
        end = b"" if tag == b"P" else b"\n"
        # As the kubelet: only the first part of a long line bears its time.
        return b"%s %s%s" % (stamp, text, end) if self._options.timestamps and begins else text + end


async def read_log(
    path: Path, options: LogOptions, *, watcher: DirectoryWatcher, ended: asyncio.Future[Exit] | None
) -> AsyncIterator[bytes]:
    """The log's text in pieces. `ended` is that of a container that may still write; None: nobody does.

    Raises `FileNotFoundError`.
    """
    left = options.limit
    with (
        closing(LogReader(path, options)) as reader,
        watcher.watching(path.parent) as changed,
        _waking(changed, ended),
    ):
        while True:
            changed.clear()
            complete = ended is None or ended.done()
            for piece in reader.available():
                yield piece if left is None else piece[:left]
                if left is not None and (left := left - len(piece)) <= 0:
                    return
            if complete or not options.follow:
                return
            await changed.wait()


@contextmanager
def _waking(changed: asyncio.Event, ended: asyncio.Future[Exit] | None) -> Iterator[None]:
    """The end of a container is a change, too."""

    def wake(_: asyncio.Future[Exit]) -> None:
        changed.set()

    if ended is None:
        yield
        return
    ended.add_done_callback(wake)
    try:
        yield
    finally:
        ended.remove_done_callback(wake)


def _tail_start(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin."""
    if lines <= 0:
        return file.seek(0, os.SEEK_END)
    at = file.seek(0, os.SEEK_END)
    wanted = lines + 1  # the last line's end is not in front of it
    while at > 0:
        size = min(_CHUNK, at)
        at = file.seek(at - size)
        block = file.read(size)
        found = block.count(b"\n")
        if found >= wanted:
            end = len(block)
            for _ in range(wanted):
                end = block.rindex(b"\n", 0, end)
            return at + end + 1
        wanted -= found
    return 0


def _stamp(moment: datetime) -> bytes:
    """As the log's own timestamps, which compare as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
