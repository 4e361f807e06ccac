"""A queue that is told to end ends, whatever gRPC makes of the cancelled call."""

import asyncio
from typing import Any

import pytest

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources import firestore, firestore_measure
from ottoscaler.adapter.sources.base import Queue, SourceContext, SourceError
from ottoscaler.adapter.sources.firestore import BACKEND
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings
from tests.virtual import VirtualClock


class Transport:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Client:
    """As far as a source closes it."""

    def __init__(self) -> None:
        self._firestore_api = self
        self.transport = Transport()


class Unanswered:
    """A reader whose call is reported as failed when it is cancelled, and fails by itself otherwise."""

    def __init__(self, client: Any, queue: Queue[Any], clock: Any, spend: Any) -> None:
        self._hangs = queue.name == "hanging"

    async def measure(self, queue: Queue[Any]) -> Reading:
        try:
            await asyncio.sleep(3600 if self._hangs else 0.1)
        except asyncio.CancelledError:
            raise SourceError("Firestore answered CANCELLED") from None
        raise SourceError("Firestore cannot be reached", code="unreachable")


@pytest.mark.looptime
async def test_a_source_that_takes_a_new_connection_waits_for_no_queue_that_swallows_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    monkeypatch.setattr(firestore, "connect", lambda settings: client)
    monkeypatch.setattr(firestore_measure, "CollectionReader", Unanswered)
    settings = FirestoreSettings(collection="jobs", project="p")
    source = BACKEND.source(settings, SourceContext(clock=VirtualClock(), environ={}))
    source.set_queues(
        [
            Queue(name=name, settings=settings, interval=15, timeout=5, stalled_after=None)
            for name in ("hanging", "failing")
        ]
    )
    news: list[Reading | ReadFailure] = []
    with pytest.raises(SourceError, match="cannot be reached"):
        async with asyncio.timeout(600):
            await source.run(news.append)
    assert client.transport.closed
    assert {each.queue for each in news} == {"failing"}
