"""The database's event stream, read piece by piece as it arrives.

The first event is the whole node on one line, so lines are never collected: the `data` of a `put` or a
`patch` goes on to the JSON parser in the pieces in which it came.

An event counts when its closing blank line has come; half an event changes nothing.
"""

from enum import Enum

from ottoscaler.adapter.sources.firebase_pruning import Malformed, PushParser, Write, parse_event

_LONGEST_LINE = 4096
"""Bytes of a line other than `data`."""


class Signal(Enum):
    """Events without data."""

    KEEP_ALIVE = "keep-alive"
    CANCEL = "cancel"
    """The rules no longer allow this read."""
    AUTH_REVOKED = "auth_revoked"
    """The token has ended."""


class TooLarge(Exception):
    """An event has more bytes than the queue allows."""


StreamEvent = Signal | list[Write]
_SIGNALS = {signal.value: signal for signal in Signal}


class EventStream:
    """Turns the bytes of one connection into events."""

    def __init__(self, *, max_event_bytes: int) -> None:
        self._max_bytes = max_event_bytes
        self._line = bytearray()
        """The line so far, unless it is `data`."""
        self._in_data = False
        self._had_data = False
        self._type = ""
        self._parser: PushParser[list[Write]] | None = None
        self._bytes = 0

    @property
    def event_bytes(self) -> int:
        """Bytes of the event that has begun and not ended; 0 between events."""
        return self._bytes

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that end in `chunk`. Raises `Malformed` and `TooLarge`; the stream is dead then."""
        events: list[StreamEvent] = []
        view = memoryview(chunk)
        position = 0
        while position < len(chunk):
            newline = chunk.find(b"\n", position)
            end = len(chunk) if newline < 0 else newline
            self._take(view[position:end], ends=newline >= 0, events=events)
            position = end + 1
        return events

    def _take(self, piece: memoryview, *, ends: bool, events: list[StreamEvent]) -> None:
        """A piece of one line, without its newline."""
        self._bytes += len(piece) + ends
        if self._bytes > self._max_bytes:
            raise TooLarge
        if not self._in_data:
            piece = self._before_data(piece)
        if self._in_data:
            if self._parser is not None and piece:
                self._parser.feed(piece)
            self._in_data = not ends
        elif ends:
            self._end_line(events)

    def _before_data(self, piece: memoryview) -> memoryview:
        """Collects the line until it turns out to be data; what of the piece is data is returned."""
        self._line += piece
        if not self._line.startswith(b"data:"):
            if len(self._line) > _LONGEST_LINE:
                raise Malformed("a line that is no event stream's")
            return piece[:0]
        data = bytes(self._line[5:])
        self._line.clear()
        self._in_data = True
        if self._had_data:
            data = b"\n" + data  # several data lines are one text
        self._had_data = True
        return memoryview(data)

    def _end_line(self, events: list[StreamEvent]) -> None:
        line = bytes(self._line.removesuffix(b"\r"))
        self._line.clear()
        if not line:
            self._end_event(events)
            return
        name, _, value = line.partition(b":")
        if name == b"event":
            self._begin_event(value.strip().decode(errors="replace"))
        elif name not in (b"", b"id", b"retry", b"data"):
            raise Malformed("a line that is no event stream's")

    def _begin_event(self, kind: str) -> None:
        if self._type or self._had_data:
            raise Malformed("an event whose type does not come first")
        self._type = kind
        if kind in ("put", "patch"):
            self._parser = parse_event(is_patch=kind == "patch")

    def _end_event(self, events: list[StreamEvent]) -> None:
        if self._parser is not None:
            events.append(self._parser.finish())
        elif self._type in _SIGNALS:
            events.append(_SIGNALS[self._type])
        self._parser = None
        self._type = ""
        self._had_data = False
        self._bytes = 0
