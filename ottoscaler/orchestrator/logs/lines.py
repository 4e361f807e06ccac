"""Lines of a pod's log and where each stands, so that reading can go on where it broke off.

The kubelet prefixes each line with the nanosecond at which it was written. That is nearly a position:
stdout and stderr are stamped apart, so neighbours may be out of order by a little, and two lines may
share a stamp. So a reader remembers its newest lines, and on going on skips exactly those and, when it
has forgotten some, what is older than all that it remembers.
"""

import calendar
import re
import time
from collections import Counter, deque
from dataclasses import dataclass

_STAMP = re.compile(
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2}) ?"
)
_REMEMBERED = 256
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line, without its line end."""

    at: int
    """When it was written, nanoseconds since the epoch."""
    text: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """After a line: its stamp, and how many lines with that stamp have been read."""

    at: int
    repeats: int

    @property
    def since(self) -> str:
        """What to ask the API for: it forwards whole seconds, and a neighbour may bear an earlier one."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.at // _BILLION - 1))


class LineSplitter:
    """Makes lines of the pieces in which a log arrives.

    `torn`: the first line may be the end of a long one, which the kubelet stores in parts and shows from
    the first part that is new enough. It is skipped: its beginning has been read.
    """

    def __init__(self, *, limit: int, torn: bool = False) -> None:
        self._rest = bytearray()
        self._limit = limit
        self._torn = torn
        self._skipped: bytes | None = None
        self._cut = 0
        self._second = b""
        self._second_value = 0

    def feed(self, piece: bytes) -> list[tuple[Line, int]]:
        """The complete lines, each with the number of bytes that were cut off beyond `limit`.

        Raises `ValueError` when a line carries no stamp: what arrives is no log, but an error's text.
        """
        lines: list[tuple[Line, int]] = []
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._append(piece[start:end])
            lines += self._take()
            start = end + 1
        self._append(piece[start:])
        return lines

    def finish(self) -> list[tuple[Line, int]]:
        """The last line, when its end never came. Raises `ValueError` as `feed` does."""
        lines = self._take() if self._rest else []
        if self._skipped is not None:
            raise _no_stamp(self._skipped)
        return lines

    def _append(self, part: bytes) -> None:
        room = self._limit + 64 - len(self._rest)  # the stamp does not count
        self._rest += part[: max(0, room)]
        self._cut += max(0, len(part) - max(0, room))

    def _take(self) -> list[tuple[Line, int]]:
        raw, cut = bytes(self._rest), self._cut
        self._rest.clear()
        self._cut = 0
        match = _STAMP.match(raw)
        if match is None:
            if not self._torn:
                raise _no_stamp(self._skipped or raw)
            self._torn, self._skipped = False, raw
            return []
        self._torn, self._skipped = False, None
        text = raw[match.end() :]
        over = max(0, len(text) - self._limit)
        return [(Line(self._nanoseconds(match), text[: self._limit]), cut + over)]

    def _nanoseconds(self, match: re.Match[bytes]) -> int:
        second, fraction, zone = match.groups()
        if second != self._second:
            self._second = second
            self._second_value = calendar.timegm(time.strptime(second.decode(), "%Y-%m-%dT%H:%M:%S"))
        offset = 0
        if zone != b"Z":
            offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
            offset = -offset if zone[:1] == b"-" else offset
        return (self._second_value - offset) * _BILLION + int((fraction or b"").ljust(9, b"0"))


def _no_stamp(raw: bytes) -> ValueError:
    return ValueError(f"a log line without a time stamp: {raw[:80]!r}")


class Progress:
    """What has been read of one log, and so what is new when reading goes on."""

    def __init__(self, position: Position | None = None) -> None:
        self._position = position
        self._recent: deque[tuple[int, int | None]] = deque(maxlen=_REMEMBERED)
        self._restored = position is not None
        if position is not None:
            # Of lines that an earlier process read only the stamp is known.
            self._recent.extend([(position.at, None)] * position.repeats)
        self._skip: Counter[tuple[int, int | None]] = Counter()
        self._to_meet = 0
        """Of the remembered lines, how many have not come again since `resume`."""
        self._floor: int | None = None
        self._matched = True

    @property
    def position(self) -> Position | None:
        """After the newest line that was accepted; None before the first."""
        return self._position

    @property
    def lost(self) -> bool:
        """Since `resume` no known line has come again: the log was rotated away in between."""
        return not self._matched

    def found(self) -> None:
        """The loss has been told of."""
        self._matched = True

    def resume(self) -> None:
        """Reading begins again, at or before `position`."""
        self._skip = Counter(self._recent)
        self._to_meet = len(self._recent)
        self._matched = not self._recent
        # What is older than all that we remember has been read; before the memory is full, that is nothing.
        forgotten = len(self._recent) == _REMEMBERED or self._restored
        self._floor = min(at for at, _ in self._recent) if forgotten and self._recent else None

    def accept(self, line: Line) -> bool:
        """Whether `line` is new; it counts as read from now on."""
        if self._floor is not None and line.at < self._floor:
            return False
        for key in ((line.at, hash(line.text)), (line.at, None)):
            if self._skip[key] > 0:
                self._skip[key] -= 1
                self._matched = True
                self._to_meet -= 1
                if self._to_meet == 0:
                    # Behind the last line that is known all are new, whatever their stamps.
                    self._floor = None
                return False
        known = self._position
        repeats = known.repeats + 1 if known is not None and known.at == line.at else 1
        self._position = Position(line.at, repeats)
        self._recent.append((line.at, hash(line.text)))
        return True
