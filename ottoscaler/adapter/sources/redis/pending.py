"""How many entries consumers hold, and which of them can still be finished.

The pending list of a group also counts entries that were trimmed or deleted while somebody held them. No
worker can finish those ghosts, and nobody removes them, so they are not work. Ids below the first entry are
ghosts at once; behind it, only ids up to the highest deleted one may be, and each of those is looked for.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from ottoscaler.adapter.sources.redis.snapshot import Held, PendingSummary, StreamInfo

LISTED = 1000
"""Up to so many pending entries are listed at each reading, so that people see who holds what."""
_CHECKS = 1000
"""Entries looked for in one transaction."""
_SLACK = 16
"""Entries that may be delivered between two readings without making a list too short."""
_ANY = 1 << 128
"""Servers before 7.0 do not say where they deleted."""


class Listing(NamedTuple):
    """`XPENDING key group from + most`."""

    start: int
    most: int


class Ghosts(NamedTuple):
    """`XPENDING key group - (before most`."""

    before: int
    most: int


class Exists(NamedTuple):
    """`XRANGE key id id`."""

    id: int


Look = Listing | Ghosts | Exists


class Processing(NamedTuple):
    """What consumers hold and can finish."""

    processing: int
    stalled: int
    held: tuple[Held, ...]
    """Empty when there are too many to list; `holders` then names the consumers."""
    holders: tuple[str, ...]
    lower_bound: bool


NOTHING = Processing(0, 0, (), (), lower_bound=False)


class Pending:
    """Counts for one group. A reading is `begin()`, then for each transaction `observe` and `learn…` of the
    looks' answers, until `processing` has an answer; while it has none, `looks` says what to ask next."""

    __slots__ = (
        "_complete",
        "_exist",
        "_ghosts",
        "_gone",
        "_highest_deleted",
        "_limit",
        "_listing",
        "_many_doubts",
        "_rows",
        "_stalled_after",
        "_stream",
        "_summary",
        "_wanted",
    )

    def __init__(self, *, limit: int, stalled_after: float | None) -> None:
        self._limit = limit
        self._stalled_after = stalled_after
        self._stream: StreamInfo | None = None
        self._summary: PendingSummary | None = None
        self._highest_deleted = 0
        """Up to where entries may have been deleted; never taken back, though XSETID may do so."""
        self._listing: Listing | None = None
        self._complete = False
        self._rows: list[Held] = []
        """What the listing of the last transaction found, from the first entry on."""
        self._ghosts: int | None = None
        """Pending entries below the first one, where they were counted; -1 when there are too many."""
        self._wanted: tuple[int, ...] = ()
        """Entries in doubt, to be looked for in the next transaction."""
        self._exist: set[int] = set()
        self._gone: set[int] = set()
        """Ids found missing. An id is never used twice, so it stays missing."""
        self._many_doubts = False

    def begin(self) -> list[Look]:
        """Starts a reading; the looks that will probably be needed, to save a second transaction."""
        self._many_doubts = False
        self._exist.clear()
        stream, summary = self._stream, self._summary
        if stream is None or summary is None or not summary.entries or not self._must_list(stream, summary):
            return []
        return [Listing(stream.first or 0, self._list_size(summary)), *map(Exists, self._wanted)]

    def observe(self, stream: StreamInfo, summary: PendingSummary) -> None:
        """Takes the facts of a transaction; what an earlier one listed no longer counts."""
        if self._stream is not None and stream.generated < self._stream.generated:
            self._gone.clear()  # another stream, or its ids were set back
        if not self._many_doubts:
            self._exist.clear()
        self._stream, self._summary = stream, summary
        if stream.deleted is None or stream.deleted > self._highest_deleted:
            self._highest_deleted = _ANY if stream.deleted is None else stream.deleted
        self._listing, self._complete, self._rows, self._ghosts = None, False, [], None

    def learn_list(self, look: Listing, rows: list[Held]) -> None:
        """Takes the rows of a listing."""
        if self._stream is None or self._stream.first is None or look.start > self._stream.first:
            return
        self._listing, self._complete = look, len(rows) < look.most
        self._rows = rows[bisect_left(rows, self._stream.first, key=lambda row: row.entry) :]

    def learn_ghosts(self, look: Ghosts, rows: Sequence[Held]) -> None:
        """Takes the rows below the first entry."""
        if self._stream is not None and look.before == self._stream.first:
            self._ghosts = len(rows) if len(rows) < look.most else -1

    def learn_exists(self, look: Exists, ids: Sequence[int]) -> None:
        """Takes the entries found at an id: itself, or none."""
        (self._exist if ids else self._gone).add(look.id)

    def processing(self, *, final: bool) -> Processing | None:
        """The count, or None when another transaction is needed; `final` takes what is known by now."""
        stream, summary = self._stream, self._summary
        if stream is None or summary is None:
            return None
        self._wanted = ()
        if not summary.entries or stream.first is None or summary.last < stream.first:
            self._gone.clear()
            return NOTHING
        if not self._must_list(stream, summary):
            return Processing(summary.entries, 0, (), summary.holders, lower_bound=False)
        if self._listing is None and not final:
            return None
        if not final and not self._complete and self._is_worth_more(stream, summary):
            return None
        unsure = self._unsure(stream)
        if unsure and not final:
            return None
        return self._counted(stream, summary, unsure)

    def looks(self) -> list[Look]:
        """What to ask in the next transaction, when `processing` had no answer."""
        stream, summary = self._stream, self._summary
        if stream is None or summary is None or stream.first is None:
            return []
        size = self._list_size(summary)
        looks: list[Look] = [Listing(stream.first, size)]
        if size > self._limit:
            looks.append(Ghosts(stream.first, self._limit + 1))
        looks.extend(map(Exists, self._wanted))
        return looks

    def _unsure(self, stream: StreamInfo) -> set[int]:
        """Listed entries that may have been deleted and were not looked for; sets what to look for next."""
        doubtful = {
            row.entry
            for row in self._rows
            if row.entry <= self._highest_deleted and row.entry != stream.first
        }
        self._gone &= doubtful
        alive = doubtful - self._gone
        unsure = alive - self._exist
        self._many_doubts = len(alive) > _CHECKS
        self._wanted = tuple(sorted(unsure if self._many_doubts else alive)[:_CHECKS])
        return unsure

    def _counted(self, stream: StreamInfo, summary: PendingSummary, unsure: set[int]) -> Processing:
        rows = [row for row in self._rows if row.entry not in self._gone]
        complete = self._complete
        if unsure and self._many_doubts:
            rows, complete = [row for row in rows if row.entry not in unsure], False
        # else: what was delivered since the last look is believed to exist, as it did a moment ago
        if (
            not complete
            and self._ghosts is not None
            and self._ghosts >= 0
            and self._is_simple(stream, summary)
        ):
            return Processing(summary.entries - self._ghosts, 0, (), summary.holders, lower_bound=False)
        stalled = 0
        if self._stalled_after is not None:
            stalled = sum(row.idle >= self._stalled_after for row in rows)
        short = complete and len(rows) <= LISTED
        return Processing(
            processing=len(rows) - stalled,
            stalled=stalled,
            held=tuple(rows) if short else (),
            holders=() if short else summary.holders,
            lower_bound=not complete,
        )

    def _must_list(self, stream: StreamInfo, summary: PendingSummary) -> bool:
        """Whether the summary alone does not say enough."""
        ghosts_below = stream.first is None or summary.first < stream.first
        return summary.entries <= LISTED or ghosts_below or not self._is_simple(stream, summary)

    def _is_simple(self, stream: StreamInfo, summary: PendingSummary) -> bool:
        """Whether every pending entry from the first one on exists, and none can be stalled."""
        doubt_from, doubt_to = (
            max(stream.first or 0, summary.first),
            min(self._highest_deleted, summary.last),
        )
        return doubt_from > doubt_to and self._stalled_after is None

    def _is_worth_more(self, stream: StreamInfo, summary: PendingSummary) -> bool:
        """Whether another transaction can say more than an incomplete listing does."""
        if self._listing is None or self._listing.most <= self._limit:
            return True
        return self._ghosts is None and self._is_simple(stream, summary)

    def _list_size(self, summary: PendingSummary) -> int:
        return min(self._limit + 1, summary.entries + _SLACK)
