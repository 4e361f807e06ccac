"""Job queues in a Firebase Realtime Database.

A source is one database with one credential. Each of its queues has a task of its own, which streams the
queue's node (`firebase_stream`) or polls it (`firebase_poll`); a queue that fails backs off alone.
"""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import aiohttp

from ottoscaler.adapter.sources.base import (
    Publish,
    Queue,
    Source,
    SourceContext,
    SourceError,
    while_configured,
)
from ottoscaler.adapter.sources.firebase_follow import FollowedQueue
from ottoscaler.adapter.sources.firebase_poll import PolledQueue
from ottoscaler.adapter.sources.firebase_queue import QueueReader, Voice
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import Endpoint, FirebaseSettings, endpoint_of
from ottoscaler.adapter.sources.firebase_token import GoogleToken, OwnerToken, TokenSource
from ottoscaler.runtime.tasks import Backoff

TOKEN_REFUSALS = "token_refusals"  # noqa: S105 - the name of a counter
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


class FirebaseRtdbSource:
    """Reads all queues of one database."""

    def __init__(self, settings: FirebaseSettings, context: SourceContext) -> None:
        self._settings = settings
        self._context = context
        self._queues: Mapping[str, Queue[FirebaseSettings]] = {}
        self._changed = asyncio.Event()

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._changed.set()

    async def run(self, publish: Publish) -> None:
        """Keeps one reader a queue running, until cancelled."""
        endpoint, tokens = self._connection()
        try:
            await self._read_all(endpoint, tokens, publish)
        finally:
            await tokens.close()

    async def _read_all(self, endpoint: Endpoint, tokens: TokenSource, publish: Publish) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector, trust_env=self._has_proxy()) as session,
            asyncio.TaskGroup() as tasks,
        ):
            database = RestDatabase(session, endpoint, tokens, on_refused_token=self._count_refused)
            readers: dict[str, QueueReader] = {}
            running: dict[str, asyncio.Task[None]] = {}
            while True:
                self._changed.clear()
                for name in [name for name, reader in readers.items() if not self._continues(reader)]:
                    running.pop(name).cancel()
                    del readers[name]
                for name, queue in self._queues.items():
                    if name in readers:
                        readers[name].queue = queue
                        continue
                    readers[name] = self._reader(database, queue, publish)
                    running[name] = tasks.create_task(readers[name].run())
                await self._changed.wait()

    def _connection(self) -> tuple[Endpoint, TokenSource]:
        try:
            endpoint = endpoint_of(self._settings.database_url, self._context.environ)
        except ValueError as error:  # the URL is good, so it is the emulator's variable
            raise SourceError(str(error), code="error") from None
        if endpoint.is_emulator:
            return endpoint, OwnerToken()
        return endpoint, GoogleToken.of(self._settings.service_account_file, self._context.clock)

    def _count_refused(self, keys: tuple[str, ...]) -> None:
        for queue in self._queues.values():
            if queue.settings.keys == keys:
                self._context.count(queue.name, TOKEN_REFUSALS, 1)

    def _has_proxy(self) -> bool:
        """Looking for one costs two turns of a thread a request, so it is done only where there is one."""
        return any(self._context.environ.get(name) for name in _PROXY_VARIABLES)

    def _reader(
        self, database: RestDatabase, queue: Queue[FirebaseSettings], publish: Publish
    ) -> QueueReader:
        checked = while_configured(publish, queue, lambda name: self._queues.get(name))
        voice = Voice(checked, self._context.clock, Backoff(initial=0.5, maximum=30.0))
        reads = PolledQueue if queue.settings.mode == "poll" else FollowedQueue
        return reads(database, queue, voice)

    def _continues(self, reader: QueueReader) -> bool:
        return reader.queue.measures_as(self._queues.get(reader.queue.name))


class FirebaseRtdbBackend:
    """The block `firebase`."""

    block: ClassVar[str] = "firebase"
    settings = FirebaseSettings
    default_interval: ClassVar[float] = 30.0
    """Seconds. A stream needs no interval: the database's keep-alives renew a reading."""

    def kind(self, settings: FirebaseSettings) -> str:
        return "firebase-rtdb"

    def connection(self, settings: FirebaseSettings) -> Hashable:
        return settings.database_url.rstrip("/"), settings.service_account_file

    def source(self, settings: FirebaseSettings, context: SourceContext) -> Source:
        return FirebaseRtdbSource(settings, context)


BACKEND = FirebaseRtdbBackend()
