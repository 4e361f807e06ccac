"""Running a source by itself, as the supervisor runs it, and looking at what it publishes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Backend, Queue, Source, SourceContext, SourceError
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from tests.waiting import until

News = Reading | ReadFailure | SourceError


class Published:
    """What a source said, in order; a `SourceError` that ended a run stands among it."""

    def __init__(self) -> None:
        self.all: list[News] = []

    def readings(self, queue: str | None = None) -> list[Reading]:
        """The readings so far, of one queue or of all."""
        return [news for news in self.all if isinstance(news, Reading) and queue in {None, news.queue}]

    async def next(self, queue: str | None = None, *, within: float = 15.0) -> News:
        """The next news from now on, of one queue (or of all queues, as a `SourceError` is)."""
        seen = len(self.all)

        def news() -> News | None:
            for each in self.all[seen:]:
                if queue is None or isinstance(each, SourceError) or each.queue == queue:
                    return each
            return None

        found: News = await until(news, within=within, every=0.005, what="news of the source")
        return found

    async def reading(
        self, queue: str | None = None, *, where: Callable[[Reading], bool] = lambda reading: True
    ) -> Reading:
        """The next reading from now on for which `where` holds."""
        seen = len(self.all)

        def reading() -> Reading | None:
            for each in self.all[seen:]:
                if isinstance(each, Reading) and queue in {None, each.queue} and where(each):
                    return each
            return None

        found: Reading = await until(reading, within=15.0, every=0.005, what="a reading of the source")
        return found


@asynccontextmanager
async def running(source: Source, *, retry_after: float = 0.05) -> AsyncIterator[Published]:
    """Runs `source` until the block ends; after a `SourceError` it is run again, as its supervisor does."""
    published = Published()

    async def supervise() -> None:
        while True:
            try:
                await source.run(published.all.append)
            except SourceError as error:
                published.all.append(error)
            await asyncio.sleep(retry_after)

    task = asyncio.create_task(supervise())
    try:
        yield published
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def queue(name: str, settings: Any, **options: Any) -> Queue[Any]:
    """A queue that is read five times a second unless `options` say otherwise."""
    defaults: dict[str, Any] = {"interval": 0.2, "timeout": 5.0, "stalled_after": None}
    return Queue(name=name, settings=settings, **(defaults | options))


def source_of(
    backend: Backend[Any],
    queues: Sequence[Queue[Any]],
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Source:
    """The source that serves all of `queues`."""
    source = backend.source(queues[0].settings, SourceContext(clock=clock, environ=environ or {}))
    source.set_queues(queues)
    return source


async def read_once(
    backend: Backend[Any], one: Queue[Any], *, environ: Mapping[str, str] | None = None
) -> News:
    """What the first reading of a queue says."""
    async with running(source_of(backend, [one], environ=environ)) as published:
        return await published.next()
