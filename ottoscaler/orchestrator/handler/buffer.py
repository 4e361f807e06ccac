"""Lines of one worker that wait for the handler: bounded, and honest about what did not fit.

When it is full the reader waits, which costs nothing while the kubelet keeps the log. When that has
lasted too long the oldest lines give way, and one entry in their place says how many and from when to
when. All buffers share a budget of bytes, so that memory stays flat with any number of workers.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from ottoscaler.orchestrator.logs.lines import Position


class Budget:
    """Bytes that all buffers together may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def spent(self) -> bool:
        return self.used >= self.limit


@dataclass(slots=True)
class Item:
    """One entry to be sent: a line, or (with `dropped` above 0) word of lines that are not."""

    number: int
    """Of the line among all lines of the worker, from 1; of a drop, that of the first line dropped."""
    at: float
    text: str
    position: Position | None = None
    """Up to here the log need not be read again once this was taken."""
    level: str = ""
    source: str = ""
    metadata: dict[str, str] | None = None
    dropped: int = 0
    until: float = 0.0
    reason: str = ""

    @property
    def size(self) -> int:
        """Bytes that it occupies, as measured for short lines."""
        return len(self.text) + 384


class LogBuffer:
    """First in, first out. `lines` and `size` (bytes) are its own bounds."""

    def __init__(self, *, lines: int, size: int, budget: Budget) -> None:
        self._items: deque[Item] = deque()
        self._lines = lines
        self._size = size
        self._budget = budget
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._sending: Item | None = None
        self.closed = False
        """Nothing more will come."""

    def __len__(self) -> int:
        return len(self._items) + (self._sending is not None)

    @property
    def bytes(self) -> int:
        """What it holds of the budget."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        if not self._items:
            return False
        return len(self._items) >= self._lines or self._bytes >= self._size or self._budget.spent

    async def room(self, seconds: float) -> bool:
        """Waits at most so long for room; whether there is some."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.full:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            self._room.clear()
            with suppress(TimeoutError):
                # The budget is freed by other buffers too, so look again now and then.
                await asyncio.wait_for(self._room.wait(), min(left, 0.2))
        return True

    def put(self, item: Item) -> int:
        """Adds `item`; when there is no room the oldest lines give way, and their number is returned."""
        dropped = 0
        while self.full and self._drop_oldest("the handler did not take them in time"):
            dropped += 1
        self._items.append(item)
        self._charge(item.size)
        self._arrived.set()
        return dropped

    def drop_all(self, reason: str) -> int:
        """Gives every waiting line up; one entry says so in their place. Their number."""
        dropped = 0
        while self._drop_oldest(reason):
            dropped += 1
        return dropped

    def _drop_oldest(self, reason: str) -> bool:
        head = self._items[0] if self._items else None
        if head is None:
            return False
        if not head.dropped:
            self._items.popleft()
            self._charge(-head.size)
            mark = Item(
                head.number, head.at, "", dropped=1, until=head.at, reason=reason, position=head.position
            )
            self._items.appendleft(mark)
            self._charge(mark.size)
            return True
        if len(self._items) < 2:
            return False
        self._items.popleft()
        self._charge(-head.size)
        victim = self._items.popleft()
        self._charge(-victim.size)
        head.dropped += victim.dropped or 1
        head.until = max(victim.at, victim.until)
        head.position = victim.position or head.position
        self._items.appendleft(head)
        self._charge(head.size)
        return True

    def close(self) -> None:
        """Nothing more will come; `next` ends once it is empty."""
        self.closed = True
        self._arrived.set()

    async def next(self) -> Item | None:
        """The oldest item, which stays ours until `taken`; None when closed and empty."""
        if self._sending is not None:
            return self._sending
        while not self._items:
            if self.closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        self._sending = self._items.popleft()
        return self._sending

    def taken(self) -> None:
        """The handler has the item that `next` gave."""
        if self._sending is not None:
            self._charge(-self._sending.size)
            self._sending = None
        self._room.set()

    def _charge(self, size: int) -> None:
        self._bytes += size
        self._budget.used += size
