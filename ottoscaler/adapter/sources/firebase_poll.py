"""Reading a queue's node by asking for it: for networks that break long connections.

Each measurement is one GET that an unchanged node answers with 304, by its ETag.
"""

import asyncio

import aiohttp

from ottoscaler.adapter.reading import Reading
from ottoscaler.adapter.sources.base import Queue, SourceError
from ottoscaler.adapter.sources.firebase_errors import no_database, too_large
from ottoscaler.adapter.sources.firebase_pruning import Malformed, PushParser, parse_node
from ottoscaler.adapter.sources.firebase_queue import Voice, reading_of
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.adapter.sources.firebase_table import JobTable
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.tasks import isolated

_SPREAD = 0.1
"""Share of an interval by which measurements are spread, so that many queues are not asked in step."""


class PolledQueue:
    """Measures a queue once an interval."""

    def __init__(self, database: RestDatabase, queue: Queue[FirebaseSettings], voice: Voice) -> None:
        self.queue = queue
        self._voice = voice
        self._node = NodePoll(database, voice.clock)

    async def run(self) -> None:
        """Until cancelled. A failure is tried again after a backoff, where that is sooner."""
        clock, backoff = self._voice.clock, self._voice.backoff
        while True:
            began = clock.monotonic()
            try:
                self._voice.publish(await isolated(self._node.measure(self.queue)))
                backoff.reset()
                wait = self.queue.interval
            except SourceError as error:
                self._voice.fail(self.queue.name, error)
                wait = min(self.queue.interval, backoff.next())
            wait *= self._voice.random.uniform(1 - _SPREAD, 1.0)
            await clock.sleep(max(0.0, began + wait - clock.monotonic()))


class NodePoll:
    """Measures one node, remembering what it was when it last changed."""

    def __init__(self, database: RestDatabase, clock: Clock) -> None:
        self.table = JobTable()
        """The node as the last successful measurement found it."""
        self._database = database
        self._clock = clock
        self._etag: str | None = None

    async def measure(self, queue: Queue[FirebaseSettings]) -> Reading:
        """One measurement, within the queue's `timeout`. Raises `SourceError`.

        It is dated by its beginning: what the database said cannot be older than the request.
        """
        started, began = self._clock.time(), self._clock.monotonic()
        try:
            async with asyncio.timeout(queue.timeout):
                await self._ask(queue.settings)
        except TimeoutError:
            raise SourceError("its database does not answer in time", code="unreachable") from None
        return reading_of(self.table, queue, measured_at=started, took=self._clock.monotonic() - began)

    async def _ask(self, settings: FirebaseSettings) -> None:
        headers = {"X-Firebase-ETag": "true", "Accept": "application/json"}
        if self._etag is not None:
            headers["If-None-Match"] = self._etag
        async with self._database.get(settings.keys, headers=headers) as (response, _):
            if response.status == 304:
                if self._etag is None:
                    raise no_database("304 to an unconditional request")
                return
            self._etag = None
            self.table = await _read(response, settings.max_event_bytes)
            self._etag = response.headers.get("ETag")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> JobTable:
    parser: PushParser[object] = parse_node()
    received = 0
    try:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received > max_bytes:
                raise too_large(max_bytes)
            parser.feed(chunk)
        root = parser.finish()
    except Malformed as error:
        raise no_database(str(error)) from None
    table = JobTable()
    table.apply([((), root)])
    return table
