"""Tells scale-ups that wait for room of scale-downs that were sent after them, to whichever replica.

The part of the stream behind the oldest one that waits is read once, by one reader for all: a thousand
that wait cost no more than one.
"""

from dataclasses import dataclass

from ottoscaler.orchestrator.events.entry import Entry, EntryId, read_order
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.launch import Patience
from ottoscaler.orchestrator.orders import InvalidOrder, ScaleDown
from ottoscaler.orchestrator.scaling import curtail
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.redis_client import REDIS_AWAY

_PAGE = 1000
_PAGES = 20
"""Read in one look; the next one goes on from there."""


@dataclass(slots=True)
class _Downs:
    """Of one task: the newest scale-down that leaves some workers, and the newest that leaves none."""

    some: EntryId | None = None
    none: EntryId | None = None


class LaterOrders:
    """Curtails who waits. `run` looks every `every` seconds, and asks Redis for nothing when nobody waits."""

    def __init__(self, stream: EventStream, *, every: float, clock: Clock) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._orders: dict[EntryId, tuple[str, Patience]] = {}
        self._downs: dict[str, _Downs] = {}
        self._since: EntryId | None = None
        """Scale-downs after this entry are known, up to `_seen`."""
        self._seen = EntryId(0, 0)

    def add(self, id_: EntryId, *, task_id: str, patience: Patience) -> None:
        """A scale-up is being carried out; it is looked after once it waits."""
        self._orders[id_] = task_id, patience

    def remove(self, id_: EntryId) -> None:
        """It is done."""
        self._orders.pop(id_, None)

    async def run(self) -> None:
        """Until cancelled. A Redis that is away is the consumer's to complain of."""
        while True:
            await self._clock.sleep(self._every)
            try:
                await self.look()
            except REDIS_AWAY:
                continue

    async def look(self) -> None:
        """Tells everybody who waits now. Raises what the Redis client raises."""
        waiting = {id_: each for id_, each in self._orders.items() if each[1].waiting.is_set()}
        if not waiting:
            self._since = None
            self._downs.clear()
            return
        await self._read_on(min(waiting))
        for id_, (task_id, patience) in waiting.items():
            downs = self._downs.get(task_id, _Downs())
            if downs.none is not None and downs.none > id_:
                curtail(patience, 0)
            elif downs.some is not None and downs.some > id_:
                curtail(patience, 1)

    async def _read_on(self, oldest: EntryId) -> None:
        if self._since is None or oldest < self._since:
            self._since = self._seen = oldest
            self._downs.clear()
        for _ in range(_PAGES):
            entries = await self._stream.after(self._seen, count=_PAGE)
            for id_, fields in entries:
                if fields.get(b"type", b"").strip() == b"scale_down":
                    self._note(Entry(id=id_, fields=fields))
                self._seen = id_
            if len(entries) < _PAGE:
                return

    def _note(self, entry: Entry) -> None:
        try:
            order = read_order(entry, source=self._stream.source, most=1)
        except InvalidOrder:
            return  # a dead letter, and nobody's order
        if isinstance(order, ScaleDown):
            downs = self._downs.setdefault(order.task_id, _Downs())
            if order.keep:
                downs.some = entry.id
            else:
                downs.none = entry.id
