"""The randomised proof: what a survey says of a stream, against a model that knows the truth.

Several surveys watch each group at once: one that lives as long as the run, one that begins anew now and
then (a restarted adapter), one that may count only a few entries (lower bounds), one that pages by fours
while commands run between its transactions, and one that is told of the stream as an older server would.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio.connection import Connection

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue
from ottoscaler.adapter.sources.redis import backlog
from ottoscaler.adapter.sources.redis.ids import format_id
from ottoscaler.adapter.sources.redis.pipeline import exchange
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.adapter.sources.redis.stream import StreamSurvey
from ottoscaler.adapter.sources.redis.survey import Command, Moment
from ottoscaler.runtime import redis_client
from ottoscaler.runtime.redis import Address
from tests.redis.random_commands import GROUPS, RandomCommands
from tests.redis.server import RedisServer
from tests.redis.truth import Stream

KEY = "otto:scale:events"
_MOST_TRANSACTIONS = 200
_INTERRUPTIONS = 20
_LIES = 0.02
"""How often XSETID is given a false count, with nothing else in the interval."""
_NEW_FIELDS = {b"max-deleted-entry-id", b"entries-added", b"recorded-first-entry-id", b"entries-read", b"lag"}


@dataclass(slots=True)
class Tally:
    """What a run did and found."""

    steps: int = 0
    readings: int = 0
    transactions: int = 0
    lower_bounds: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def take(self, step: Callable[[], str] | None) -> None:
        """Does a step and counts it."""
        if step is not None:
            self.commands[step()] += 1
            self.steps += 1


@dataclass(slots=True)
class Watcher:
    """A survey of one group, and how it is treated."""

    name: str
    group: str
    limit: int = 10_000
    restarts: float = 0.0
    """The chance of beginning anew before a reading."""
    interrupted: bool = False
    """Whether commands run between the transactions of one reading."""
    old_server: bool = False
    survey: StreamSurvey | None = None

    def ready(self, rng: random.Random) -> StreamSurvey:
        if self.survey is None or rng.random() < self.restarts:
            settings = RedisSettings(
                url="redis://localhost", stream=KEY, group=self.group, count_limit=self.limit
            )
            queue = Queue(name=self.name, settings=settings, interval=5.0, timeout=5.0, stalled_after=None)
            self.survey = StreamSurvey(queue)
        return self.survey


def watchers() -> list[Watcher]:
    """The watchers of every group."""
    return [
        watcher
        for group in GROUPS
        for watcher in (
            Watcher("lasting", group),
            Watcher("restarted", group, restarts=0.3),
            Watcher("limited", group, limit=5),
            Watcher("interrupted", group, interrupted=True),
            Watcher("older server", group, old_server=True),
        )
    ]


@asynccontextmanager
async def connected(server: RedisServer) -> AsyncIterator[Connection]:
    """A connection as the source has one."""
    settings = RedisSettings(url=server.url, stream=KEY, group="any").connection()
    connection = redis_client.connection(
        settings, Address("127.0.0.1", server.port), environ={}, connect_timeout=5.0
    )
    opened: Any = connection  # untyped in the library
    await opened.connect()
    try:
        yield connection
    finally:
        await connection.disconnect()


async def run(server: RedisServer, *, seed: int, steps: int, pause: int = 1) -> Tally:
    """`steps` random commands; after every 1 to `pause` of them every watcher reads and is compared."""
    rng = random.Random(seed)
    tally = Tally()
    with server.commands() as commands:
        commands.flushall()
        commands.config_set("stream-node-max-entries", rng.choice((3, 10, 100)))
        plain: Any = commands  # untyped in the library
        plain.response_callbacks.clear()  # the model wants what the server says
        world = RandomCommands(plain.execute_command, KEY, rng)
        watching = watchers()
        async with connected(server) as connection:
            seen = _Comparison(seed, world, connection, rng, tally)
            while tally.steps < steps:
                if rng.random() < _LIES:
                    # Nothing else may happen meanwhile: a lie beside a removal cannot be told from an addition.
                    for step in (None, world.lie):
                        tally.take(step)
                        for watcher in watching:
                            await seen.compare(watcher, calm=True)
                for _ in range(rng.randint(1, pause)):
                    tally.take(world.step)
                for watcher in watching:
                    await seen.compare(watcher)
    return tally


@dataclass(slots=True)
class _Comparison:
    seed: int
    world: RandomCommands
    connection: Connection
    rng: random.Random
    tally: Tally

    async def compare(self, watcher: Watcher, *, calm: bool = False) -> None:
        """One reading of `watcher`, judged by what was true at its last transaction."""
        tally = self.tally
        survey = watcher.ready(self.rng)
        interrupted = watcher.interrupted and not calm
        page, backlog.PAGE = backlog.PAGE, 4 if watcher.interrupted else backlog.PAGE
        try:
            found: Reading | ReadFailure | list[Command] = survey.begin()
            number = 0
            while isinstance(found, list):
                number += 1
                if number > 1 and number < _INTERRUPTIONS and interrupted:
                    tally.take(self.world.step)
                replies = await _transact(self.connection, found, older=watcher.old_server)
                tally.transactions += 1
                found = survey.take(replies, Moment(0.0, 0.0), final=number >= _MOST_TRANSACTIONS)
        finally:
            backlog.PAGE = page
        tally.readings += 1
        difference = _difference(found, self.world.stream, watcher, tally)
        if difference:
            tally.differences.append(f"seed {self.seed}, step {tally.steps}, {watcher.name}: {difference}")


async def _transact(connection: Connection, commands: Sequence[Command], *, older: bool) -> list[Any]:
    answers = [replies async for replies in exchange(connection, [commands])]
    (replies,) = answers
    assert isinstance(replies, list), replies
    return [_as_older(reply) for reply in replies] if older else replies


def _as_older(reply: Any) -> Any:
    """The reply as a server before 7.0 gives it: without counters."""
    if not isinstance(reply, list):
        return reply
    if reply and isinstance(reply[0], bytes) and len(reply) % 2 == 0 and b"length" in reply[::2]:
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return [part for pair in pairs if pair[0] not in _NEW_FIELDS for part in pair]
    if reply and isinstance(reply[0], list) and b"last-delivered-id" in reply[0]:
        return [
            [
                part
                for pair in zip(row[::2], row[1::2], strict=True)
                if pair[0] not in _NEW_FIELDS
                for part in pair
            ]
            for row in reply
        ]
    return reply


def _difference(
    found: Reading | ReadFailure, stream: Stream | None, watcher: Watcher, tally: Tally
) -> str | None:
    if stream is None or watcher.group not in stream.groups:
        missing = isinstance(found, ReadFailure) and found.code == "missing"
        return None if missing else f"there is nothing to read, and it says {found}"
    if isinstance(found, ReadFailure):
        return f"it could not read: {found}"
    waiting, processing = stream.waiting(watcher.group), stream.processing(watcher.group)
    if found.lower_bound:
        tally.lower_bounds += 1
        low = found.waiting <= len(waiting) and found.processing <= len(processing)
        return None if low and watcher.limit < 10_000 else f"no lower bound: {found}"
    truth = (len(waiting), len(processing))
    if (found.waiting, found.processing) != truth:
        return f"waiting, processing = {found.waiting}, {found.processing}; true: {truth}"
    oldest = (waiting[0] >> 64) / 1000 if waiting else None
    if found.oldest_waiting_at != oldest:
        return f"oldest waiting {found.oldest_waiting_at}; true: {oldest}"
    held = {(job.holder, job.job) for job in found.held if job.job}
    if held and held != {(who, format_id(entry)) for entry, who in processing.items()}:
        return f"held {sorted(held)}; true: {sorted(processing.items())}"
    if not {job.holder for job in found.held} >= set(processing.values()):
        return f"held by {found.held}; true: {sorted(processing.items())}"
    return None
