"""A Firestore source, the documents it reads, and everything that it has said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.cloud.firestore import AsyncClient

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue, SourceContext, SourceError
from ottoscaler.adapter.sources.firestore import connect
from ottoscaler.adapter.sources.firestore_measure import CollectionReader
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings
from ottoscaler.adapter.sources.sharing import ALONE, Sharing
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

COLLECTION = "requestedJobs"


def queue(project: str, *, timeout: float = 5.0, **settings: Any) -> Queue[FirestoreSettings]:
    """A queue of the collection."""
    block = FirestoreSettings(collection=COLLECTION, project=project, **settings)
    return Queue(name="q", settings=block, interval=60.0, timeout=timeout, stalled_after=None)


@contextlib.asynccontextmanager
async def connected(project: str) -> AsyncIterator[AsyncClient]:
    """A client of the emulator (or of the proxy that the environment names)."""
    client = connect(FirestoreSettings(collection=COLLECTION, project=project))
    try:
        yield client
    finally:
        await client._firestore_api.transport.close()


async def fill(client: AsyncClient, documents: Mapping[str, Any]) -> None:
    """Writes documents to the collection; None deletes one."""
    batch = client.batch()
    for name, document in documents.items():
        reference = client.collection(COLLECTION).document(name)
        if document is None:
            batch.delete(reference)
        else:
            batch.set(reference, document)
    await batch.commit()


class Spent:
    """The documents that were paid for."""

    def __init__(self) -> None:
        self.documents = 0.0

    def __call__(self, amount: float) -> None:
        self.documents += amount


async def measure(
    client: AsyncClient, there: Queue[FirestoreSettings], *, spent: Spent | None = None
) -> Reading:
    """One measurement."""
    return await CollectionReader(client, there, SYSTEM_CLOCK, spent or Spent()).measure(there)


class Costs:
    """Takes what a source reads, by queue and kind."""

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str], float] = {}

    def __call__(self, queue: str, what: str, amount: float) -> None:
        self.amounts[queue, what] = self.amounts.get((queue, what), 0.0) + amount


def context(
    *, clock: Clock = SYSTEM_CLOCK, sharing: Sharing = ALONE, costs: Costs | None = None
) -> SourceContext:
    """Surroundings of a source."""
    return SourceContext(clock=clock, environ={}, count=costs or Costs(), sharing=sharing)


@contextlib.asynccontextmanager
async def running(source: Any) -> AsyncIterator[list[Reading | ReadFailure]]:
    """What the source says while it runs."""
    heard: list[Reading | ReadFailure] = []
    task = asyncio.create_task(source.run(heard.append))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            error = task.exception()
            assert isinstance(error, SourceError), error
            raise error
