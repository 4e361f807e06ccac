"""Following a queue by its event stream, across connections.

A stream must be opened anew before its token ends, and whenever it breaks. A planned change opens the new
stream first and leaves the old one when the new one has its snapshot, so no event and no time is lost.
After a break, or when a stream turns out to have missed something, the last reading ages until the new
snapshot is there.

A stream that works says something at least every 30 s, which renews the reading. A queue with a shorter
`interval` is also asked (a conditional GET) when its stream has been silent for that long, which proves the
reading, and finds out a connection that only looks alive. Nodes too large to be read that often are not.
"""

import asyncio
import math
from collections.abc import Callable

from ottoscaler.adapter.sources.base import Queue, SourceError
from ottoscaler.adapter.sources.firebase_poll import NodePoll
from ottoscaler.adapter.sources.firebase_queue import Voice, reading_of
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.adapter.sources.firebase_stream import NodeStream

SMALL_NODE_BYTES = 1024 * 1024
"""A snapshot up to this size may be asked for often."""
_SETTLED_SECONDS = 30.0
"""A stream of a large node that lasted this long was no waste."""
_SILENCE = 1.125
"""Intervals of silence before a queue is asked: keep-alives that come a little late are early enough."""
_STEP = 0.125
"""Share of an interval to whose multiples the asking is put off: many queues that are asked at one moment
cost half the processor time of as many that wake the process one by one."""

_MISSED = "its event stream had missed a change and is opened anew"


class FollowedQueue:
    """Publishes a reading for every change, and at least for every keep-alive."""

    def __init__(self, database: RestDatabase, queue: Queue[FirebaseSettings], voice: Voice) -> None:
        self.queue = queue
        self._database = database
        self._voice = voice
        self._current: _Connection | None = None
        self._node = NodePoll(database, voice.clock)
        self._asked_at = -math.inf

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                fresh = self._open(tasks)
                if await fresh.opened():
                    await self._use(fresh)
                else:
                    await self._recover(fresh)

    def _open(self, tasks: asyncio.TaskGroup) -> "_Connection":
        stream = NodeStream(
            self._database, self.queue.settings, self._voice.clock, opened_within=self.queue.timeout
        )
        connection = _Connection(stream, lambda: self._publish_from(connection))
        connection.start(tasks)
        return connection

    async def _use(self, fresh: "_Connection") -> None:
        """Makes `fresh` the current connection until it is time for another."""
        former, self._current = self._current, fresh
        if former is not None:
            former.close()
        self._publish_from(fresh)
        is_cheap = fresh.stream.snapshot_bytes <= SMALL_NODE_BYTES
        if is_cheap:
            self._voice.backoff.reset()
        began = self._voice.clock.monotonic()
        await self._until_renewal(fresh, may_ask=is_cheap)
        if self._voice.clock.monotonic() - began > _SETTLED_SECONDS:
            self._voice.backoff.reset()
        if fresh.task.done():
            await self._recover(fresh)

    async def _recover(self, ended: "_Connection") -> None:
        """After a connection that ended or never began; one that is still current goes on meanwhile."""
        if ended.failure is not None:
            self._voice.fail(self.queue.name, ended.failure)
        # a database that is back is read again within one interval
        await self._voice.clock.sleep(min(self.queue.interval, self._voice.backoff.next()))

    def _publish_from(self, connection: "_Connection") -> None:
        """Publishes what the current connection knows; others are not asked."""
        if connection is not self._current:
            return
        stream = connection.stream
        try:
            reading = reading_of(stream.table, self.queue, measured_at=stream.heard_at)
        except SourceError as error:
            self._voice.fail(self.queue.name, error)
        else:
            self._voice.publish(reading)

    async def _until_renewal(self, connection: "_Connection", *, may_ask: bool) -> None:
        """Returns when the connection has ended, its token ends soon, or it turned out not to be true."""
        clock = self._voice.clock
        token = connection.stream.token
        renewal = math.inf if token is None else token.renewal(self._voice.random)
        while not connection.task.done():
            now = clock.monotonic()
            if now >= renewal:
                return
            silent_since = max(connection.stream.heard_monotonic, self._asked_at)
            ask_at = _ask_at(silent_since, self.queue.interval) if may_ask else math.inf
            if now >= ask_at:
                if not await self._confirm(connection):
                    return
                continue
            wait = min(renewal, ask_at) - now
            await asyncio.wait([connection.task], timeout=None if math.isinf(wait) else wait)

    async def _confirm(self, connection: "_Connection") -> bool:
        """Asks the database what the stream should have said; False when the stream missed something, and is
        left."""
        clock, stream = self._voice.clock, connection.stream
        asked = clock.monotonic()
        try:
            reading = await self._node.measure(self.queue)
        except SourceError as error:
            self._voice.fail(self.queue.name, error)
            return True
        finally:
            self._asked_at = clock.monotonic()
        if stream.heard_monotonic >= asked:
            return True  # it spoke meanwhile, so the two cannot be compared
        if not self._node.table.same_as(stream.table):
            self._current = None  # whatever it says from now on is of a table that is wrong
            connection.close()
            self._voice.fail(self.queue.name, SourceError(_MISSED, code="unreachable"))
            return False
        self._voice.publish(reading)
        return True


def _ask_at(silent_since: float, interval: float) -> float:
    """When a queue that stays silent is asked: at most one and a quarter intervals later."""
    step = _STEP * interval
    return math.ceil((silent_since + _SILENCE * interval) / step) * step


class _Connection:
    """A stream and the task that reads it."""

    task: asyncio.Task[None]

    def __init__(self, stream: NodeStream, on_news: Callable[[], None]) -> None:
        self.stream = stream
        self.failure: SourceError | None = None
        self._on_news = on_news
        self._snapshot = asyncio.Event()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to read."""
        self.task = tasks.create_task(self._run())

    def close(self) -> None:
        """Leaves the stream."""
        self.task.cancel()

    async def opened(self) -> bool:
        """Waits for the snapshot; False when the stream ended without one."""
        await self._snapshot.wait()
        return self.stream.has_snapshot

    async def _run(self) -> None:
        try:
            await self.stream.run(self._heard)
        except SourceError as error:
            self.failure = error.with_traceback(None)  # whose frames would keep this connection alive
        finally:
            self._on_news = _nothing
            self._snapshot.set()

    def _heard(self) -> None:
        self._snapshot.set()
        self._on_news()


def _nothing() -> None:
    """Nobody hears of a connection that has ended; the way back to its queue is cut."""
