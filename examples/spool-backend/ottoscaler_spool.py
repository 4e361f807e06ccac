"""A backend for jobs that are files: those in DIRECTORY/new wait, those in DIRECTORY/work are in work."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Publish, Queue, SourceContext


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    directory: Path


class SpoolSource:
    def __init__(self, context: SourceContext) -> None:
        self._clock = context.clock
        self._queues: Sequence[Queue[SpoolSettings]] = ()

    def set_queues(self, queues: Sequence[Queue[SpoolSettings]]) -> None:
        self._queues = queues

    async def run(self, publish: Publish) -> None:
        while True:
            for queue in self._queues:
                news = await asyncio.to_thread(self._measure, queue)
                if queue in self._queues:  # a reload may have changed it meanwhile
                    publish(news)
            await self._clock.sleep(min(queue.interval for queue in self._queues))

    def _measure(self, queue: Queue[SpoolSettings]) -> Reading | ReadFailure:
        name, now, directory = queue.name, self._clock.time(), queue.settings.directory
        try:
            ages = [file.stat().st_mtime for file in (directory / "new").iterdir()]
            taken = sum(1 for _ in (directory / "work").iterdir())
        except OSError as error:
            reason = f"its directory cannot be read: {error.strerror}"
            return ReadFailure(queue=name, at=now, reason=reason, detail=str(error), code="missing")
        oldest = min(ages, default=None)
        return Reading(
            queue=name, measured_at=now, waiting=len(ages), processing=taken, oldest_waiting_at=oldest
        )


class SpoolBackend:
    block = "spool"
    settings = SpoolSettings

    def kind(self, settings: SpoolSettings) -> str:
        return "spool"

    def connection(self, settings: SpoolSettings) -> str:
        return "this machine"

    def source(self, settings: SpoolSettings, context: SourceContext) -> SpoolSource:
        return SpoolSource(context)
