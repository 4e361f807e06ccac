"""Known places in a stream, so that counting starts near what is asked instead of at the beginning.

A mark says of an id how many entries exist behind it: `added - position`, where `added` is the stream's
count of entries ever added. New entries raise both sides alike, so a mark stays true while nothing behind
it is removed, and one mark a reading is enough to count a backlog of any length with a short walk.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

_MOST = 32
"""Marks kept for one stream: some 3 KB."""


class Mark(NamedTuple):
    """`position` of `id`: entries behind it = entries ever added - position."""

    id: int
    position: int


class Marks:
    """Marks in the order of ids; their positions never fall."""

    __slots__ = ("_ids", "_positions")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._positions: list[int] = []

    def __len__(self) -> int:
        return len(self._ids)

    def clear(self) -> None:
        """Forgets all."""
        self._ids.clear()
        self._positions.clear()

    def put(self, id: int, position: int) -> None:  # noqa: A002
        """Adds what was just measured. Marks that contradict it are wrong, so all others are forgotten."""
        at = bisect_left(self._ids, id)
        if at < len(self._ids) and self._ids[at] == id:
            if self._positions[at] == position:
                return
            self.clear()
            at = 0
        elif (at > 0 and self._positions[at - 1] > position) or (
            at < len(self._ids) and self._positions[at] < position
        ):
            self.clear()
            at = 0
        self._ids.insert(at, id)
        self._positions.insert(at, position)

    def at(self, id: int) -> int | None:  # noqa: A002
        """The position of `id`, where a mark stands on it or nothing lies between its neighbours."""
        below, above = self.around(id)
        if below is not None and (below.id == id or (above is not None and below.position == above.position)):
            return below.position
        return None

    def around(self, id: int) -> tuple[Mark | None, Mark | None]:  # noqa: A002
        """The last mark at or before `id`, and the first one behind it."""
        at = bisect_right(self._ids, id)
        below = Mark(self._ids[at - 1], self._positions[at - 1]) if at else None
        above = Mark(self._ids[at], self._positions[at]) if at < len(self._ids) else None
        return below, above

    def forget_before(self, id: int) -> None:  # noqa: A002
        """Forgets the marks whose id is smaller."""
        at = bisect_left(self._ids, id)
        del self._ids[:at], self._positions[:at]

    def thin(self) -> None:
        """Keeps the most useful: where too many stand, those go that are closest to their neighbours."""
        while len(self._ids) > _MOST:
            places = range(1, len(self._ids) - 1)
            closest = min(places, key=lambda at: self._positions[at + 1] - self._positions[at - 1])
            del self._ids[closest], self._positions[closest]
