"""Lines of one worker that wait for the handler: bounded, and honest about what did not fit.

When it is full the reader waits, which costs nothing while the kubelet keeps the log. When that has
lasted too long the oldest lines give way, and one entry in their place says how many and from when to
when. All buffers share a budget of bytes, so that memory stays flat with any number of workers.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from sys import getsizeof

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
        """Bytes that it occupies, as measured."""
        size = getsizeof(self.text) + getsizeof(self.reason) + 288
        for key, value in (self.metadata or {}).items():
            size += getsizeof(key) + getsizeof(value) + 96
        return size

    @property
    def is_word(self) -> bool:
        """Whether it is word of lines that are missing, not a line."""
        return bool(self.dropped or self.reason)

    def absorb(self, victim: "Item", reason: str) -> int:
        """Makes this word speak of `victim` too; how many lines that adds."""
        lines = 0 if victim.is_word else 1
        if not self.dropped:
            self.number = victim.number  # until now it spoke of lines that nobody could count
        self.dropped += victim.dropped + lines
        self.until = max(self.until, victim.at, victim.until)
        self.position = victim.position or self.position
        why = victim.reason or reason
        if why not in self.reason:
            self.reason = f"{self.reason}; {why}"
        return lines

    def given_up(self, reason: str) -> "Item":
        """Word of this line, in its place."""
        return Item(self.number, self.at, "", dropped=1, until=self.at, reason=reason, position=self.position)


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
        self._discarded = False
        self.closed = False
        """Nothing more will come."""

    def __len__(self) -> int:
        return len(self._items) + (self._sending is not None)

    @property
    def bytes(self) -> int:
        """What it holds of the budget."""
        return self._bytes

    @property
    def sending(self) -> Item | None:
        """The item that `next` gave and that was not taken yet."""
        return self._sending

    @property
    def full(self) -> bool:
        """Whether the reader should wait."""
        if not self._items:
            return self._discarded
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
                async with asyncio.timeout(min(left, 0.2)):
                    await self._room.wait()
        return True

    def put(self, item: Item) -> int:
        """Adds `item`; when there is no room the oldest lines give way, and their number is returned."""
        if self._discarded:
            return 0 if item.is_word else 1
        dropped = 0
        while self.full and (lines := self._drop_oldest("the handler did not take them in time")) is not None:
            dropped += lines
        self._items.append(item)
        self._charge(item.size)
        self._arrived.set()
        return dropped

    def drop_all(self, reason: str) -> int:
        """Gives every waiting line up; one entry says so in their place. Their number."""
        dropped = 0
        while (lines := self._drop_oldest(reason)) is not None:
            dropped += lines
        return dropped

    def _drop_oldest(self, reason: str) -> int | None:
        """How many lines gave way to the word at the front; None when there is nothing but that word."""
        head = self._items[0] if self._items else None
        if head is None:
            return None
        if not head.is_word:
            self._items[0] = head.given_up(reason)
            self._charge(self._items[0].size - head.size)
            return 1
        if len(self._items) < 2:
            return None
        before = head.size
        self._items.popleft()
        victim = self._items.popleft()
        lines = head.absorb(victim, reason)
        self._items.appendleft(head)
        self._charge(head.size - before - victim.size)
        return lines

    def close(self) -> None:
        """Nothing more will come; `next` ends once it is empty."""
        self.closed = True
        self._arrived.set()

    def discard(self) -> None:
        """Nobody sends from it any more: gives back what it holds of the budget, and takes nothing."""
        self._discarded = True
        self._items.clear()
        self._sending = None
        self._charge(-self._bytes)

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

    def replace(self, item: Item) -> None:
        """`item` is sent in the place of the one that `next` gave."""
        if self._sending is not None:
            self._charge(item.size - self._sending.size)
            self._sending = item

    def _charge(self, size: int) -> None:
        self._bytes += size
        self._budget.used += size
