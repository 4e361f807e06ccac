"""When a source ends by itself, and that a queue which is told to end ends, whatever gRPC makes of the cancelled call."""

import asyncio
from pathlib import Path
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
        self.key = ""


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


class Refused:
    """A reader whose client's key is refused unless it is the new one."""

    def __init__(self, client: Any, queue: Queue[Any], clock: Any, spend: Any) -> None:
        self._key = client.key

    async def measure(self, queue: Queue[Any]) -> Reading:
        await asyncio.sleep(0.1)
        if self._key != "new":
            raise SourceError("Firestore refused the credential", detail="its text", code="unauthorized")
        return Reading(queue=queue.name, measured_at=1_790_000_000.0, waiting=3)


@pytest.mark.looptime
async def test_a_key_that_was_replaced_in_its_file_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key.json"
    file.write_text("old")
    clients: list[Client] = []

    def connect(settings: FirestoreSettings) -> Client:
        clients.append(Client())
        clients[-1].key = file.read_text()
        return clients[-1]

    monkeypatch.setattr(firestore, "connect", connect)
    monkeypatch.setattr(firestore_measure, "CollectionReader", Refused)
    settings = FirestoreSettings(collection="jobs", project="p", service_account_file=file)
    source = BACKEND.source(settings, SourceContext(clock=VirtualClock(), environ={}))
    source.set_queues([Queue(name="q", settings=settings, interval=15, timeout=5, stalled_after=None)])
    news: list[Reading | ReadFailure] = []
    with pytest.raises(SourceError) as ended:
        async with asyncio.timeout(600):
            await source.run(news.append)
    assert (str(ended.value), ended.value.detail, ended.value.code) == (
        "Firestore refused the credential",
        "its text",
        "unauthorized",
    )
    assert clients[0].transport.closed
    file.write_text("new")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await source.run(news.append)
    assert [type(each) for each in news[:3]] == [ReadFailure, ReadFailure, Reading]
    assert len(clients) == 2
