"""What one transaction says of a stream and one of its groups, taken apart and checked.

`XINFO STREAM`, `XINFO GROUPS` and `XPENDING` run in one MULTI/EXEC, so they speak of one moment: an entry
that is delivered meanwhile is neither lost nor counted twice. Answers are checked because a proxy, a
half-written reply or another server's dialect must end in an error, never in a number.
"""

from typing import Any, NamedTuple

from ottoscaler.adapter.sources.redis.ids import parse_id


class Malformed(ValueError):
    """An answer that is none to the question asked."""


class StreamInfo(NamedTuple):
    """`XINFO STREAM`."""

    length: int
    generated: int
    """The highest id ever given (`last-generated-id`)."""
    first: int | None
    """The id of the oldest entry that exists; None when there is none."""
    last: int | None
    deleted: int | None
    """The highest id ever removed by XDEL; None on servers before 7.0, which do not say."""
    added: int | None
    """How many entries were ever added; None on servers before 7.0."""
    entry_bytes: int
    """The size of the larger of the first and the last entry."""


class GroupInfo(NamedTuple):
    """A row of `XINFO GROUPS`."""

    delivered: int
    """`last-delivered-id`: what lies behind it is what XREADGROUP hands out next."""
    read: int | None
    """How many entries the group thinks it has read; None when it does not know."""
    lag: int | None
    pending: int


class PendingSummary(NamedTuple):
    """`XPENDING key group`. The ids are 0 when nothing is pending."""

    entries: int
    first: int
    last: int
    holders: tuple[str, ...]
    """The consumers that hold entries."""


class Held(NamedTuple):
    """A row of `XPENDING key group start end count`."""

    entry: int
    name: str
    """The entry's id as the server writes it."""
    consumer: str
    idle: float
    """Seconds since it was last delivered or claimed."""


def parse_stream(reply: Any) -> StreamInfo:
    """Raises `Malformed`."""
    fields = _mapping(reply)
    first, first_bytes = _entry(fields.get(b"first-entry"))
    last, last_bytes = _entry(fields.get(b"last-entry"))
    length = _count(fields.get(b"length"))
    if (length == 0) != (first is None) or (length == 0) != (last is None):
        raise Malformed("a stream whose length and entries contradict each other")
    added, deleted = fields.get(b"entries-added"), fields.get(b"max-deleted-entry-id")
    return StreamInfo(
        length=length,
        generated=_id(fields.get(b"last-generated-id")),
        first=first,
        last=last,
        deleted=None if deleted is None else _id(deleted),
        added=None if added is None or deleted is None else _count(added),
        entry_bytes=max(first_bytes, last_bytes),
    )


def parse_group(reply: Any, name: bytes) -> GroupInfo | None:
    """The row of the group `name`; None when the stream has no such group. Raises `Malformed`."""
    for row in _list(reply):
        fields = _mapping(row)
        if fields.get(b"name") == name:
            read, lag = fields.get(b"entries-read"), fields.get(b"lag")
            return GroupInfo(
                delivered=_id(fields.get(b"last-delivered-id")),
                read=None if read is None else _integer(read),
                lag=None if lag is None else _integer(lag),
                pending=_count(fields.get(b"pending")),
            )
    return None


def parse_summary(reply: Any) -> PendingSummary:
    """Raises `Malformed`."""
    match reply:
        case [0, *_]:
            return PendingSummary(0, 0, 0, ())
        case [int() as count, bytes() as first, bytes() as last, list() as holders]:
            names = tuple(_text(holder[0]) for holder in holders if isinstance(holder, list) and holder)
            return PendingSummary(_count(count), _id(first), _id(last), names)
    raise Malformed("no summary of pending entries")


def parse_held(reply: Any) -> list[Held]:
    """Rows by id, ascending. Raises `Malformed`."""
    rows: list[Held] = []
    for row in _list(reply):
        try:
            entry, consumer, idle, _ = row
        except (TypeError, ValueError):
            raise Malformed("no row of pending entries") from None
        rows.append(Held(_id(entry), _text(entry), _text(consumer), _integer(idle) / 1000.0))
    return rows


def parse_entry_ids(reply: Any) -> list[int]:
    """The ids of `XRANGE` or `XREVRANGE`, in the order given. Raises `Malformed`."""
    ids: list[int] = []
    for entry in _list(reply):
        match entry:
            case [bytes() as id, _]:
                ids.append(_id(id))
            case _:
                raise Malformed("no stream entry")
    return ids


def _mapping(reply: Any) -> dict[bytes, Any]:
    flat = _list(reply)
    try:
        return dict(zip(flat[::2], flat[1::2], strict=True))
    except (TypeError, ValueError):
        raise Malformed("no fields with values") from None


def _list(reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        raise Malformed("no list")
    return reply


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise Malformed("no number")
    return value


def _count(value: Any) -> int:
    if _integer(value) < 0:
        raise Malformed("a count below zero")
    return int(value)


def _id(value: Any) -> int:
    if not isinstance(value, bytes):
        raise Malformed("no entry id")
    try:
        return parse_id(value)
    except ValueError as error:
        raise Malformed(str(error)) from None


def _entry(value: Any) -> tuple[int | None, int]:
    match value:
        case None:
            return None, 0
        case [bytes() as entry, fields]:
            return _id(entry), _size(_list(fields))
    raise Malformed("no stream entry")


def _size(fields: list[Any]) -> int:
    try:
        return sum(map(len, fields))
    except TypeError:
        raise Malformed("a field of an entry that is no string") from None


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise Malformed("no name")
    return value.decode(errors="backslashreplace")
