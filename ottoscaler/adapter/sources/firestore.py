"""Job queues in Cloud Firestore: counted once an interval, by one replica, since every read is paid for.

A source is one database with one credential. Google's client is imported and made in a thread when the
source first runs: it costs 20 MiB and a second that other configurations need not spend. There is no push:
the asynchronous client has no listener.
"""

import asyncio
import os
import random
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ottoscaler.adapter.reading import FailureCode, ReadFailure, Reading
from ottoscaler.adapter.sources.base import (
    Publish,
    Queue,
    Source,
    SourceContext,
    SourceError,
    while_configured,
)
from ottoscaler.adapter.sources.firestore_settings import MINIMUM_INTERVAL, FirestoreSettings
from ottoscaler.runtime.tasks import Backoff, isolated

if TYPE_CHECKING:
    from google.cloud.firestore import AsyncClient

EMULATOR_VARIABLE = "FIRESTORE_EMULATOR_HOST"
READS = "document_reads"
_SPREAD = 0.1
"""Share of an interval by which measurements are spread, so that many queues are not asked in step."""
_MOST_UNREACHABLE = 2
_RENEWED = frozenset({"unreachable", "unauthorized"})
"""Failures that a new client may not have: its connection is new, and it reads the key file again."""
_TAKE_SECONDS = 5.0
"""How often a replica that does not read looks for a newer reading: that costs nothing."""


class FirestoreSource:
    """Reads all queues of one database."""

    def __init__(self, settings: FirestoreSettings, context: SourceContext) -> None:
        self._settings = settings
        self._context = context
        self._queues: Mapping[str, Queue[FirestoreSettings]] = {}
        self._changed = asyncio.Event()
        self._unreachable = 0
        """Measurements in a row, of whatever queue, that could not reach Firestore or were refused the credential."""
        self._latest: tuple[str, str, FailureCode] = ("", "", "unreachable")
        """Of these: reason, detail and code; not the error, whose frames would keep the client alive."""

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._changed.set()

    async def run(self, publish: Publish) -> None:
        """Keeps one task a queue running, until cancelled. Raises `SourceError` when it takes a new connection."""
        client = await asyncio.to_thread(connect, self._settings)
        self._unreachable = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                running: dict[str, tuple[Queue[FirestoreSettings], asyncio.Task[None]]] = {}
                while self._unreachable < _MOST_UNREACHABLE:
                    self._changed.clear()
                    for name in [name for name in running if self._queues.get(name) != running[name][0]]:
                        running.pop(name)[1].cancel()
                    for name, queue in self._queues.items():
                        if name not in running:
                            running[name] = queue, tasks.create_task(self._poll(client, queue, publish))
                    await self._changed.wait()
                reason, detail, code = self._latest
                for _, task in running.values():
                    task.cancel()
            raise SourceError(reason, detail=detail, code=code)
        finally:
            await client._firestore_api.transport.close()  # it has no other way

    async def _poll(self, client: "AsyncClient", queue: Queue[FirestoreSettings], publish: Publish) -> None:
        from ottoscaler.adapter.sources.firestore_measure import CollectionReader

        publish = while_configured(publish, queue, lambda name: self._queues.get(name))
        clock = self._context.clock
        spend = partial(self._context.count, queue.name, READS)
        reader = CollectionReader(client, queue, clock, spend)
        interval = max(queue.interval, MINIMUM_INTERVAL)
        backoff = Backoff(initial=1.0, maximum=interval)
        spread = random.Random()  # noqa: S311 - spreads requests, keeps no secret
        known: float | None = None
        while True:
            began = clock.monotonic()
            try:
                if self._context.sharing.reads():
                    reading = await isolated(reader.measure(queue))
                    self._unreachable = 0
                    publish(reading)
                    await self._context.sharing.give(reading, queue.meaning)
                    wait = interval
                else:
                    taken = await self._take(queue)
                    if taken.measured_at != known:
                        publish(taken)
                    known, wait = taken.measured_at, min(interval, _TAKE_SECONDS)
                backoff.reset()
            except SourceError as error:
                publish(
                    ReadFailure(
                        queue=queue.name,
                        at=clock.time(),
                        reason=str(error),
                        detail=error.detail,
                        code=error.code,
                    )
                )
                self._note(error)
                wait = backoff.next()
            await clock.sleep(max(0.0, began + wait * spread.uniform(1 - _SPREAD, 1.0) - clock.monotonic()))

    def _note(self, error: SourceError) -> None:
        """gRPC keeps a connection that went dead without a word: it probes only while calls are open, and
        ours are short. So a new one is made when several measurements in a row find nobody; and when they
        are refused, since the file of the key that it once read may hold another by now."""
        if error.code in _RENEWED and self._context.sharing.reads():
            self._unreachable += 1
            self._latest = str(error), error.detail, error.code
            self._changed.set()
        else:
            self._unreachable = 0

    async def _take(self, queue: Queue[FirestoreSettings]) -> Reading:
        """The reading of the replica that reads. Raises `SourceError` when there is none."""
        reading = await self._context.sharing.take(queue.name, queue.meaning)
        if reading is None:
            raise SourceError("the replica that reads Firestore has offered no reading", code="unreachable")
        return reading


def connect(settings: FirestoreSettings) -> "AsyncClient":
    """A client of the database, made without any request. Blocking. Raises `SourceError`."""
    from google.auth.exceptions import GoogleAuthError

    from ottoscaler.adapter.sources.firestore_client import OwnConnectionClient

    credential, project = None, settings.project
    try:
        if settings.service_account_file is not None and not os.environ.get(EMULATOR_VARIABLE):
            from firebase_admin.credentials import Certificate

            certificate = Certificate(str(settings.service_account_file))
            credential, project = certificate.get_credential(), project or certificate.project_id
        return OwnConnectionClient(project=project, credentials=credential, database=settings.database)
    except OSError as error:  # also how Google's libraries say that there is no project
        reason = (
            "its service-account file cannot be read"
            if settings.service_account_file is not None
            else "its project is not known: set project"
        )
        raise SourceError(reason, detail=str(error), code="unauthorized") from None
    except ValueError as error:
        raise SourceError(
            "its service-account file is not one", detail=str(error), code="unauthorized"
        ) from None
    except GoogleAuthError as error:
        raise SourceError(
            "there are no credentials: set serviceAccountFile, or application-default credentials",
            detail=str(error),
            code="unauthorized",
        ) from None


class FirestoreBackend:
    """The block `firestore`."""

    block: ClassVar[str] = "firestore"
    settings = FirestoreSettings
    default_interval: ClassVar[float] = 60.0
    minimum_interval: ClassVar[float] = MINIMUM_INTERVAL

    def kind(self, settings: FirestoreSettings) -> str:
        return "firestore"

    def connection(self, settings: FirestoreSettings) -> Hashable:
        return settings.project, settings.database, settings.service_account_file

    def source(self, settings: FirestoreSettings, context: SourceContext) -> Source:
        return FirestoreSource(settings, context)


BACKEND = FirestoreBackend()
