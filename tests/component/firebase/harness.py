"""A Firebase source on a real server, and everything that it has said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue, SourceContext
from ottoscaler.adapter.sources.firebase_rtdb import BACKEND
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.values import Duration
from tests.rtdb import RtdbServer
from tests.waiting import until

PATH = "requestedJobs/q"
SELDOM = 3600.0
"""An interval that never comes in a test: the stream alone must do."""


def queue(
    server: RtdbServer,
    *,
    name: str = "q",
    path: str = PATH,
    mode: Any = "stream",
    interval: float = SELDOM,
    timeout: float = 5.0,
    stalled_after: float | None = None,
    **settings: Any,
) -> Queue[FirebaseSettings]:
    """A queue of `server`."""
    if "read_timeout" in settings:
        settings["read_timeout"] = Duration(settings["read_timeout"])
    block = FirebaseSettings(database_url=server.url(), path=path, mode=mode, **settings)
    return Queue(name=name, settings=block, interval=interval, timeout=timeout, stalled_after=stalled_after)


class Heard:
    """What a source has published, in order."""

    def __init__(self) -> None:
        self.news: list[Reading | ReadFailure] = []

    def __call__(self, news: Reading | ReadFailure) -> None:
        self.news.append(news)

    @property
    def readings(self) -> list[Reading]:
        return [each for each in self.news if isinstance(each, Reading)]

    @property
    def failures(self) -> list[ReadFailure]:
        return [each for each in self.news if isinstance(each, ReadFailure)]

    def last(self, name: str = "q") -> Reading | ReadFailure | None:
        return next((each for each in reversed(self.news) if each.queue == name), None)

    async def waiting(self, count: int, *, name: str = "q", within: float = 15.0) -> Reading:
        """The newest word about the queue, as soon as it is a reading with so many waiting jobs."""

        def seen() -> bool:
            last = self.last(name)
            return isinstance(last, Reading) and last.waiting == count

        await until(seen, within=within, every=0.002, what=f"{count} waiting in {name}")
        last = self.last(name)
        assert isinstance(last, Reading)
        return last

    async def failure(self, *, after: int = 0, within: float = 15.0) -> ReadFailure:
        """The failure that follows the first `after` ones."""
        await until(lambda: len(self.failures) > after, within=within, every=0.002, what="a failure")
        return self.failures[after]


@contextlib.asynccontextmanager
async def reading(
    *queues: Queue[FirebaseSettings],
    clock: Clock = SYSTEM_CLOCK,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[Heard, Any]]:
    """Runs a source with `queues`; what it says, and itself."""
    source = BACKEND.source(queues[0].settings, SourceContext(clock=clock, environ=environ or {}))
    source.set_queues(queues)
    heard = Heard()
    task = asyncio.create_task(source.run(heard))
    try:
        yield heard, source
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
