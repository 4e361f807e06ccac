"""A container's log on disk: CRI lines, rotated by size.

`<RFC 3339 nanoseconds> stdout|stderr F|P <text>`; P marks a piece of a line longer than 16 KiB, as
containerd cuts them. Timestamps grow strictly, as nanosecond clocks make them do in practice, so a
reader may tell lines apart by them. The current file keeps its name; rotated ones get the moment as
a suffix that sorts.
"""

import os
import time
from pathlib import Path
from typing import Literal

StreamName = Literal["stdout", "stderr"]
LINE_BYTES = 16 * 1024
TAIL_BYTES = 2048
"""Kept for termination messages: the kubelet's limit is 2 KiB or 80 lines."""


class LogFile:
    """The writing end. `max_bytes` of the current file; `max_files` with the current one."""

    def __init__(self, path: Path, *, max_bytes: int, max_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._rests: dict[StreamName, bytes] = {"stdout": b"", "stderr": b""}
        self._stamp = 0
        self._second = -1
        self._second_text = ""
        self._tail = b""
        self._rotations = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._file = self._path.open("ab", buffering=0)
        self._size = self._file.tell()

    @property
    def tail(self) -> str:
        """The last output of both streams, at most 2 KiB."""
        return self._tail.decode(errors="replace")

    def write(self, stream: StreamName, data: bytes) -> None:
        """Appends the complete lines of `data`; an unfinished one waits for its end or for `close`."""
        *lines, rest = (self._rests[stream] + data).split(b"\n")
        entries = [entry for line in lines for entry in self._entries(stream, line, complete=True)]
        while len(rest) >= LINE_BYTES:
            entries.append(self._entry(stream, b"P", rest[:LINE_BYTES]))
            rest = rest[LINE_BYTES:]
        self._rests[stream] = rest
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._append(entries)

    def close(self) -> None:
        """Writes what has no line end yet, and closes the file."""
        for stream, rest in self._rests.items():
            if rest:
                self._append(self._entries(stream, rest, complete=True))
        self._rests = {"stdout": b"", "stderr": b""}
        self._file.close()

    def _entries(self, stream: StreamName, line: bytes, *, complete: bool) -> list[bytes]:
        pieces = [line[at : at + LINE_BYTES] for at in range(0, len(line), LINE_BYTES)] or [b""]
        tags = [b"P"] * (len(pieces) - 1) + [b"F" if complete else b"P"]
        return [self._entry(stream, tag, piece) for tag, piece in zip(tags, pieces, strict=True)]

    def _entry(self, stream: StreamName, tag: bytes, text: bytes) -> bytes:
        return b"%s %s %s %s\n" % (self._next_stamp(), stream.encode(), tag, text)

    def _next_stamp(self) -> bytes:
        self._stamp = max(time.time_ns(), self._stamp + 1)
        second, nanoseconds = divmod(self._stamp, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return b"%s.%09dZ" % (self._second_text.encode(), nanoseconds)

    def _append(self, entries: list[bytes]) -> None:
        batch: list[bytes] = []
        size = self._size
        for entry in entries:
            if size and size + len(entry) > self._max_bytes:
                self._flush(batch)
                self._rotate()
                batch, size = [], 0
            batch.append(entry)
            size += len(entry)
        self._flush(batch)

    def _flush(self, batch: list[bytes]) -> None:
        data = memoryview(b"".join(batch))
        self._size += len(data)
        while data:
            data = data[self._file.write(data) :]

    def _rotate(self) -> None:
        self._file.close()
        self._rotations += 1
        suffix = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(self._second))}.{self._rotations:06d}"
        self._path.rename(self._path.with_name(f"{self._path.name}.{suffix}"))
        self._open()
        for old in rotated(self._path)[: -(self._max_files - 1) or None]:
            old.unlink(missing_ok=True)


def rotated(current: Path) -> list[Path]:
    """The older files of the log whose newest is `current`, oldest first."""
    prefix = current.name + "."
    with os.scandir(current.parent) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith(prefix))
    return [current.with_name(name) for name in names]
