"""The stream as Redis keeps it: every command that we send about it, and the shapes of the answers.

Values stay bytes, since producers may write anything. Answers are read in both protocol versions.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import ResponseError

from ottoscaler.orchestrator.events.entry import Entry, EntryId
from ottoscaler.orchestrator.times import format_time

DEAD_SUFFIX = ":dead"
_DEAD_KEPT = 10_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An entry that was delivered and not acknowledged."""

    id: EntryId
    consumer: str
    idle: float
    """Seconds since it was last delivered or refreshed."""
    deliveries: int


class Refreshed(NamedTuple):
    """What became of entries that we held; what is in neither is somebody else's, or acknowledged."""

    ours: set[EntryId]
    trimmed: set[EntryId]
    """In nobody's hands any more, nor in the stream."""


class EventStream:
    """One stream read by one consumer of one group. Raises what the Redis client raises."""

    def __init__(
        self, client: Any, *, stream: str, group: str, consumer: str, transactions: bool = True
    ) -> None:
        self._redis = client
        self._transactions = transactions
        """False on a Redis Cluster, where the stream and its dead letters live in different slots."""
        self.stream = stream
        self.group = group
        self.consumer = consumer
        self.dead = stream + DEAD_SUFFIX

    @property
    def source(self) -> str:
        """Tells equal ids of two streams, or of two groups on one, apart."""
        return f"{self.stream}\n{self.group}"

    async def _ask(self, call: Awaitable[T]) -> T:
        """The answer. The library swallows a cancellation that comes together with one (docs/decisions/0071)."""
        answer = await call
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return answer

    async def ensure_group(self) -> None:
        """Makes the group, from the stream's first entry on, unless there is one."""
        try:
            await self._ask(self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True))
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def read(self, *, count: int, block: float) -> list[Entry]:
        """Entries that nobody was given yet, waiting at most `block` seconds for the first."""
        answer = await self._ask(
            self._redis.xreadgroup(
                self.group, self.consumer, {self.stream: ">"}, count=count, block=round(block * 1000)
            )
        )
        return [Entry(id=id_, fields=fields or {}) for id_, fields in _entries(answer)]

    async def own(self, *, after: EntryId | None, count: int) -> list[Entry]:
        """Entries that this consumer was given and never acknowledged, in order. Trimmed ones have no fields."""
        answer = await self._ask(
            self._redis.xreadgroup(self.group, self.consumer, {self.stream: str(after or "0")}, count=count)
        )
        return await self._counted([(id_, fields or {}) for id_, fields in _entries(answer)])

    async def claim(self, *, idle: float, start: str, count: int) -> tuple[str, list[Entry]]:
        """Takes over entries that were silent for `idle` seconds; where to go on, nothing at the end.

        Those that were trimmed have no fields, and stay pending until they are acknowledged. Not by XAUTOCLAIM:
        it takes trimmed ones out of the hands of replicas that are at work on them too.
        """
        silent = [
            _pending(each)
            for each in await self._ask(
                self._redis.xpending_range(
                    self.stream, self.group, start, "+", count, idle=round(idle * 1000)
                )
            )
        ]
        if not silent:
            return "", []
        present = await self.fields([each.id for each in silent])
        taken = await self._take_over(list(present), idle=idle)
        missed = [id_ for id_ in present if id_ not in taken]
        still = await self.fields(missed) if missed else {}  # somebody was quicker, or it is done
        entries = [
            Entry(id=each.id, fields=taken.get(each.id, {}), deliveries=each.deliveries + 1)
            for each in silent
            if each.id not in still
        ]
        return "" if len(silent) < count else f"({silent[-1].id}", entries

    async def _take_over(self, ids: Sequence[EntryId], *, idle: float) -> dict[EntryId, dict[bytes, bytes]]:
        if not ids:
            return {}
        claimed = await self._ask(
            self._redis.xclaim(
                self.stream, self.group, self.consumer, round(idle * 1000), [str(id_) for id_ in ids]
            )
        )
        return {EntryId.parse(_text(id_)): _fields(fields) for id_, fields in claimed if id_ is not None}

    async def _counted(self, entries: list[tuple[EntryId, dict[bytes, bytes]]]) -> list[Entry]:
        if not entries:
            return []
        known = {each.id: each.deliveries for each in await self.pending([id_ for id_, _ in entries])}
        return [Entry(id=id_, fields=fields, deliveries=known.get(id_, 1)) for id_, fields in entries]

    async def pending(self, ids: Sequence[EntryId]) -> list[Pending]:
        """Those of `ids` that are delivered and not acknowledged."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.xpending_range(self.stream, self.group, str(id_), str(id_), 1)
            answers = await self._ask(pipe.execute())
        return [_pending(each) for answer in answers for each in answer]

    async def pending_before(self, id_: EntryId, *, count: int) -> list[Pending]:
        """At most `count` entries that precede `id_` and are not acknowledged, the oldest first."""
        answer = await self._ask(self._redis.xpending_range(self.stream, self.group, "-", f"({id_}", count))
        return [_pending(each) for each in answer]

    async def fields(self, ids: Sequence[EntryId]) -> dict[EntryId, dict[bytes, bytes]]:
        """The fields of those of `ids` that are still in the stream."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.xrange(self.stream, str(id_), str(id_), count=1)
            answers = await self._ask(pipe.execute())
        return {
            EntryId.parse(_text(found)): _fields(fields) for answer in answers for found, fields in answer
        }

    async def after(self, id_: EntryId, *, count: int) -> list[tuple[EntryId, dict[bytes, bytes]]]:
        """At most `count` entries that follow `id_`."""
        answer = await self._ask(self._redis.xrange(self.stream, f"({id_}", "+", count=count))
        return [(EntryId.parse(_text(found)), _fields(fields)) for found, fields in answer]

    async def refresh(self, ids: Iterable[EntryId]) -> Refreshed:
        """Resets the idle time of those of `ids` that are still ours."""
        asked = list(ids)
        if not asked:
            return Refreshed(set(), set())
        pending = await self.pending(asked)
        ours = {each.id for each in pending if each.consumer == self.consumer}
        missing = [id_ for id_ in asked if id_ not in {each.id for each in pending}]
        trimmed = set(missing) - set(await self.fields(missing)) if missing else set()
        if ours:
            # Since Redis 7 this is also where those that were trimmed end to be pending.
            await self._ask(
                self._redis.xclaim(
                    self.stream, self.group, self.consumer, 0, [str(id_) for id_ in ours], justid=True
                )
            )
        return Refreshed(ours, trimmed)

    async def acknowledge(self, ids: Iterable[EntryId]) -> None:
        """Takes them off the list of what is pending."""
        asked = [str(id_) for id_ in ids]
        if asked:
            await self._ask(self._redis.xack(self.stream, self.group, *asked))

    async def bury(self, entry: Entry, *, reason: str, at: float) -> None:
        """Moves an entry to the dead letters, with the reason, and acknowledges it.

        In one transaction where the server can; else a crash between the two leaves a second letter.
        """
        letter: dict[bytes, bytes] = {
            **entry.fields,
            b"dead_id": str(entry.id).encode(),
            b"dead_reason": reason.encode(errors="replace"),
            b"dead_at": format_time(at).encode(),
            b"dead_deliveries": b"%d" % entry.deliveries,
        }
        async with self._redis.pipeline(transaction=self._transactions) as pipe:
            pipe.xadd(self.dead, letter, maxlen=_DEAD_KEPT, approximate=True)
            pipe.xack(self.stream, self.group, str(entry.id))
            await self._ask(pipe.execute())

    async def unsettled(self, ids: Sequence[EntryId]) -> set[EntryId]:
        """Those of `ids` that may be delivered again: pending, or not delivered at all, and still in the stream.

        The latter happens to an entry that we have seen when Redis went back in time (a restored
        dump, a failover).
        """
        if not ids:
            return set()
        present = set(await self.fields(ids))
        if not present:
            return set()
        try:
            last = await self._last_delivered()
            pending = {each.id for each in await self.pending(sorted(present))}
        except ResponseError as error:
            if "NOGROUP" in str(error):
                return present
            raise
        return {id_ for id_ in present if last is None or id_ > last or id_ in pending}

    async def _last_delivered(self) -> EntryId | None:
        for group in await self._ask(self._redis.xinfo_groups(self.stream)):
            known = {_text(key): value for key, value in group.items()}
            if _text(known["name"]) == self.group:
                return EntryId.parse(_text(known["last-delivered-id"]))
        return None

    async def forget_silent_consumers(self, *, idle: float) -> list[str]:
        """Deletes consumers that hold nothing and were silent for `idle` seconds; their names."""
        forgotten: list[str] = []
        for consumer in await self._ask(self._redis.xinfo_consumers(self.stream, self.group)):
            known = {_text(key): value for key, value in consumer.items()}
            name = _text(known["name"])
            if name == self.consumer or known["pending"] or known["idle"] < idle * 1000:
                continue
            await self._ask(self._redis.xgroup_delconsumer(self.stream, self.group, name))
            forgotten.append(name)
        return forgotten


def _entries(answer: Any) -> list[tuple[EntryId, dict[bytes, bytes] | None]]:
    """Of XREADGROUP on one stream, in RESP2 (a list of pairs) or RESP3 (a mapping)."""
    if not answer:
        return []
    streams = list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer]
    found = streams[0]
    if found and isinstance(found[0], list):
        found = found[0]  # RESP3 nests once more
    return [(EntryId.parse(_text(id_)), None if fields is None else _fields(fields)) for id_, fields in found]


def _fields(fields: Any) -> dict[bytes, bytes]:
    if not fields:
        return {}
    return {_bytes(key): _bytes(value) for key, value in fields.items()}


def _pending(answer: Any) -> Pending:
    return Pending(
        id=EntryId.parse(_text(answer["message_id"])),
        consumer=_text(answer["consumer"]),
        idle=answer["time_since_delivered"] / 1000,
        deliveries=answer["times_delivered"],
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
