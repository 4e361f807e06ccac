"""A backend that a test plays by hand: it publishes what the test says, when the test says it."""

import asyncio
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Publish, Queue, SourceContext
from ottoscaler.runtime.values import Duration


class FakeSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    server: str = "one"
    stream: str = "jobs"
    page_size: int = 10
    min_idle: Duration = Duration(30)
    password_file: Path | None = None

    def __post_init__(self) -> None:
        if self.page_size > 1000:
            raise ValueError("pageSize is above 1000")


class FakeSource:
    """Publishes on command; `runs` counts its lives."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.queues: list[Queue[Any]] = []
        self.runs = 0
        self.running = False
        self._end: asyncio.Future[Exception]
        self._publish: Publish | None = None

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        self.queues = list(queues)

    async def run(self, publish: Publish) -> None:
        self.runs += 1
        self._publish = publish
        self._end = asyncio.get_running_loop().create_future()
        self.running = True
        try:
            raise await self._end
        finally:
            self.running = False

    def fail(self, error: Exception) -> None:
        """Ends the present life."""
        self._end.set_result(error)

    def publish(self, news: Reading | ReadFailure) -> None:
        assert self._publish is not None, "not started"
        self._publish(news)


class FakeBackend:
    """Remembers the sources that it made, newest last."""

    block: ClassVar[str] = "fake"
    settings = FakeSettings

    def __init__(self) -> None:
        self.sources: list[FakeSource] = []

    def kind(self, settings: FakeSettings) -> str:
        return "fake-queue"

    def connection(self, settings: FakeSettings) -> Hashable:
        return settings.server

    def source(self, settings: FakeSettings, context: SourceContext) -> FakeSource:
        source = FakeSource(settings.server)
        self.sources.append(source)
        return source


BACKEND = FakeBackend()
"""Loaded by the registry in tests that read configuration."""
