"""Reading a queue's node by asking for it: for networks that break long connections.

Each measurement is one GET that an unchanged node answers with 304, by its ETag.
"""

import aiohttp

from ottoscaler.adapter.reading import Reading
from ottoscaler.adapter.sources.base import Queue, SourceError
from ottoscaler.adapter.sources.firebase_pruning import Malformed, PushParser, parse_node
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.adapter.sources.firebase_table import JobTable, NotAQueue
from ottoscaler.runtime.clock import Clock


class NodePoll:
    """Measures one node, remembering what it was when it last changed."""

    def __init__(self, database: RestDatabase, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._etag: str | None = None
        self._table = JobTable()

    async def measure(self, queue: Queue[FirebaseSettings]) -> Reading:
        """One measurement. Raises `SourceError`, and `TimeoutError` never.

        It is dated by its beginning: what the database said cannot be older than the request.
        """
        started, began = self._clock.time(), self._clock.monotonic()
        headers = {"X-Firebase-ETag": "true", "Accept": "application/json"}
        if self._etag is not None:
            headers["If-None-Match"] = self._etag
        timeout = aiohttp.ClientTimeout(total=queue.timeout)
        async with self._database.get(queue.settings.keys, headers=headers, timeout=timeout) as (response, _):
            if response.status == 304:
                if self._etag is None:
                    raise SourceError(
                        "its database says that nothing has changed since never", code="invalid"
                    )
            else:
                self._etag = None
                self._table = await _read(response, queue.settings.max_event_bytes)
                self._etag = response.headers.get("ETag")
        return reading_of(self._table, queue, measured_at=started, took=self._clock.monotonic() - began)


def reading_of(
    table: JobTable, queue: Queue[FirebaseSettings], *, measured_at: float, took: float | None = None
) -> Reading:
    """The table as a reading. Raises `SourceError` when the node is no queue."""
    try:
        return table.reading(
            queue.name, measured_at=measured_at, stalled_after=queue.stalled_after, took=took
        )
    except NotAQueue:
        raise SourceError("its node holds values, and no jobs: check path", code="invalid") from None


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


def too_large(max_bytes: int) -> SourceError:
    """The node has more bytes than are read."""
    return SourceError(
        f"its node has more than {max_bytes // 1024} KiB: give the path of a light node, or raise maxEventBytes",
        code="invalid",
    )


def no_database(detail: str) -> SourceError:
    """What answered does not speak the protocol."""
    return SourceError(
        "its database's answer makes no sense: is there a proxy between?", detail=detail, code="invalid"
    )
