"""How many entries of a stream a group has yet to be given.

`lag` of `XINFO GROUPS` cannot be believed: it is nil after deletions, and wrong for ever after entries were
trimmed before they were read. It is taken only of a stream that never lost an entry. Otherwise the count
follows from facts that one transaction states together:

- nothing lies behind `last-delivered-id`: 0; everything does: the length;
- the position of `last-delivered-id` is marked (`marks.py`): entries ever added - position;
- else entries are counted from the nearest marks towards it, in pages, and new marks are set on the way.

A removal behind a mark always shows: trimming moves the first entry past it, XDEL raises
`max-deleted-entry-id` past it. Marks that may have seen one are dropped, so what they say is never stale.
"""

from bisect import bisect_right
from typing import NamedTuple

from ottoscaler.adapter.sources.redis.marks import Mark, Marks
from ottoscaler.adapter.sources.redis.snapshot import GroupInfo, StreamInfo

PAGE = 1000
"""Entries asked for at once: about a millisecond of the server's time."""
_PAGE_BYTES = 1 << 20
_WALK_BYTES = 16 << 20
_FORESIGHT = 256
"""The most entries asked for before it is known that they are needed."""
_BELIEVED = 1000
"""A lag that is shorter is rather counted."""
_AUDIT = 64
"""Every so many readings a short backlog is counted anew, whatever the marks say."""


class Ahead(NamedTuple):
    """`XRANGE key (after + COUNT most`; from the first entry when `after` is None."""

    after: int | None
    most: int


class Down(NamedTuple):
    """`XREVRANGE key start (after COUNT most`; from the last entry when `start` is None."""

    start: int | None
    after: int
    most: int


Walk = Ahead | Down


class Waiting(NamedTuple):
    """What a group has yet to be given."""

    entries: int
    lower_bound: bool
    oldest: int | None
    """The id of the first such entry."""


class Backlog:
    """Counts for one group, remembering marks from reading to reading.

    A reading is `begin()`, then for each transaction `observe` and `learn` of its walks' answers, until
    `waiting` has an answer; while it has none, `walks` says what to ask in the next transaction.
    """

    __slots__ = (
        "_first_look",
        "_group",
        "_limit",
        "_marks",
        "_oldest",
        "_position",
        "_rate",
        "_readings",
        "_stable",
        "_stream",
        "_waiting",
        "_walked",
    )

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._marks = Marks()
        self._stream: StreamInfo | None = None
        self._group: GroupInfo | None = None
        self._oldest: tuple[int, int] | None = None
        """(last delivered id, first entry behind it), as seen."""
        self._waiting = 0
        self._position: int | None = None
        """Of the last delivered id."""
        self._rate = 0
        """Entries delivered between the last two readings."""
        self._stable = True
        """Whether the mark on the last delivered id outlives an interval, so that counting can start there."""
        self._first_look = True
        self._readings = 0
        self._walked = 0

    def begin(self) -> list[Walk]:
        """Starts a reading; the walk that will probably be needed, to save a second transaction."""
        self._walked = 0
        self._first_look = True
        self._readings += 1
        if self._readings % _AUDIT == 0 and self._waiting <= PAGE:
            self._marks.clear()
        if self._stream is None or self._group is None:
            return []
        ahead = self._rate if self._stable else self._stream.length
        from_first, from_last = self._stream.length - self._waiting, self._waiting
        cost = max(0, min(ahead, from_first, from_last))
        count = min(_FORESIGHT, cost + cost // 2 + 2, self._page())
        if cost == ahead:
            return [Ahead(self._group.delivered, count)]
        return [Ahead(None, count) if cost == from_first else Down(None, self._group.delivered, count)]

    def observe(self, stream: StreamInfo, group: GroupInfo) -> None:
        """Takes the facts of a transaction."""
        before = self._stream
        if before is not None:
            if not _continues(before, stream):
                self._marks.clear()
                self._oldest = self._position = None
            elif _removed(before, stream):
                self._forget_before(max(stream.deleted or 0, (stream.first or 0) - 1))
        if self._group is not None and self._first_look:
            self._stable = self._marks.at(self._group.delivered) is not None
        self._stream, self._group, self._first_look = stream, group, False
        if stream.first is None:
            self._marks.clear()
        else:
            self._marks.put(stream.first - 1, _added(stream) - stream.length)
        self._marks.put(stream.generated, _added(stream))

    def learn(self, walk: Walk, ids: list[int]) -> None:
        """Takes the ids that `walk` found in the same transaction as what was last observed."""
        if self._stream is None or self._group is None:
            return
        if isinstance(walk, Ahead):
            self._learn_ahead(walk, ids, self._stream, self._group.delivered)
        else:
            self._learn_down(walk, ids, self._stream, self._group.delivered)

    def waiting(self, *, final: bool) -> Waiting | None:
        """The count, or None when another transaction is needed; `final` takes what is known by now."""
        stream, group = self._stream, self._group
        if stream is None or group is None:
            return None
        delivered = group.delivered
        if stream.first is None or stream.last is None or delivered >= stream.last:
            return self._answer(Waiting(0, False, None))
        if stream.first > delivered:
            return self._answer(Waiting(stream.length, False, stream.first))
        self._believe_lag(stream, group)
        position = self._marks.at(delivered)
        oldest = self._oldest[1] if self._oldest and self._oldest[0] == delivered else None
        if not final and (oldest is None or (position is None and self._budget() > 0)):
            return None
        if position is None:
            _, above = self._marks.around(delivered)
            position = above.position if above is not None else _added(stream)
            return self._answer(Waiting(_added(stream) - position, True, oldest))
        return self._answer(Waiting(_added(stream) - position, False, oldest))

    def walks(self) -> list[Walk]:
        """What to ask in the next transaction, when `waiting` had no answer."""
        if self._group is None:
            return []
        delivered, budget = self._group.delivered, self._budget()
        below, above = self._marks.around(delivered)
        if below is None or above is None or budget <= 0 or self._marks.at(delivered) is not None:
            return [Ahead(delivered, 1)]
        left, right = self._distances(below, above)
        if min(left, right) > budget:
            return [Down(above.id, delivered, min(self._page(), budget))]
        if left < right:
            return [Ahead(below.id, min(self._page(), left + 2))]
        if right < left:
            return [Down(above.id, delivered, min(self._page(), right + 2))]
        page = min(self._page(), budget)
        return [Ahead(below.id, page), Down(above.id, delivered, page)]

    def _distances(self, below: Mark, above: Mark) -> tuple[int, int]:
        """About how many entries lie between the last delivered id and either mark; equal when unknown.

        The group's own count of what it has read is often wrong, but good enough to choose a direction.
        """
        read = self._group.read if self._group is not None else None
        if read is None or not below.position <= read <= above.position:
            return 0, 0
        return read - below.position, above.position - read

    def _learn_ahead(self, walk: Ahead, ids: list[int], stream: StreamInfo, delivered: int) -> None:
        start = (stream.first or 1) - 1 if walk.after is None else walk.after
        split = bisect_right(ids, delivered)
        exhausted = len(ids) < walk.most
        if split < len(ids) and start <= delivered:
            self._oldest = (delivered, ids[split])
        if exhausted and start <= delivered:
            self._marks.put(delivered, _added(stream) - (len(ids) - split))
            return
        known = self._marks.at(start)
        if known is None or not ids:
            return
        if split < len(ids) and start <= delivered:
            self._marks.put(delivered, known + split)
        else:
            self._marks.put(ids[-1], known + len(ids))

    def _learn_down(self, walk: Down, ids: list[int], stream: StreamInfo, delivered: int) -> None:
        self._walked += len(ids)
        known = _added(stream) if walk.start is None else self._marks.at(walk.start)
        if known is None:
            return
        ids.reverse()
        split = bisect_right(ids, delivered)
        behind = len(ids) - split
        passes = walk.start is None or walk.start >= delivered  # the group may have moved since it was asked
        if passes and (split or (len(ids) < walk.most and walk.after <= delivered)):
            self._marks.put(delivered, known - behind)
            if behind:
                self._oldest = (delivered, ids[split])
        elif ids:
            self._marks.put(ids[0] - 1, known - len(ids))

    def _believe_lag(self, stream: StreamInfo, group: GroupInfo) -> None:
        """Takes the lag of a stream that never lost an entry, where counting it would be long."""
        lag = group.lag
        if lag is None or stream.added != stream.length or self._marks.at(group.delivered) is not None:
            return
        if _BELIEVED <= lag < stream.length:
            self._marks.put(group.delivered, stream.added - lag)

    def _answer(self, waiting: Waiting) -> Waiting:
        """Remembers what helps the next reading."""
        self._waiting = waiting.entries
        if self._stream is not None and self._group is not None and not waiting.lower_bound:
            position = _added(self._stream) - waiting.entries
            self._rate = 0 if self._position is None else max(0, position - self._position)
            self._position = position
            if self._group.delivered <= self._stream.generated:  # else entries may still come before it
                self._marks.put(self._group.delivered, position)
                self._marks.forget_before(self._group.delivered)
        self._marks.thin()
        return waiting

    def _forget_before(self, id: int) -> None:  # noqa: A002
        self._marks.forget_before(id)
        if self._oldest is not None and self._oldest[1] <= id:
            self._oldest = None

    def _page(self) -> int:
        stream = self._stream
        if stream is None:
            return PAGE
        if stream.added is None:
            return self._limit  # marks of an older server rarely outlive a change: count in one go
        return max(8, min(PAGE, _PAGE_BYTES // (stream.entry_bytes + 1)))

    def _budget(self) -> int:
        size = 1 if self._stream is None else self._stream.entry_bytes + 1
        return min(self._limit, max(PAGE // 10, _WALK_BYTES // size)) - self._walked


def _added(stream: StreamInfo) -> int:
    """Entries ever added; on servers that do not say, the length does as long as nothing changes."""
    return stream.length if stream.added is None else stream.added


def _removed(before: StreamInfo, now: StreamInfo) -> int:
    """How many entries were removed between two looks at a stream that `_continues`."""
    return before.length + _added(now) - _added(before) - now.length


def _continues(before: StreamInfo, now: StreamInfo) -> bool:
    """Whether only entries were added and removed; False after XSETID, or when it is another stream."""
    if now.added is None or before.added is None or now.deleted is None or before.deleted is None:
        same = (before.length, before.generated, before.first, before.last)
        return same == (now.length, now.generated, now.first, now.last)
    grown, added = now.length - before.length, now.added - before.added
    if now.generated < before.generated or now.deleted < before.deleted or grown > added:
        return False
    if now.generated == before.generated and added:
        return False
    if now.first is not None and before.first is not None and now.first < before.first:
        return False
    untouched = now.first == before.first and now.deleted == before.deleted
    if untouched and now.first is not None and now.deleted < now.first:
        return grown == added  # neither trimmed nor deleted
    set_by_hand = now.generated > max(now.last or 0, now.deleted)
    return not (set_by_hand and now.length and now.generated > before.generated)
