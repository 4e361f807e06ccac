"""One queue of a database: read for ever, whatever fails.

A queue fails alone: its failure is published and tried again with backoff, while the others of the same
database go on. `firebase_poll` and `firebase_follow` are the two ways to read it.
"""

import random
from typing import Protocol

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Publish, Queue, SourceError
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.adapter.sources.firebase_table import JobTable, NotAQueue
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.tasks import Backoff


class QueueReader(Protocol):
    """Publishes readings and failures of `queue`, which may be replaced by one with the same settings."""

    queue: Queue[FirebaseSettings]

    async def run(self) -> None:
        """Until cancelled."""
        ...


class Voice:
    """What the two ways of reading share: time, chance, patience, and whom to tell."""

    def __init__(self, publish: Publish, clock: Clock, backoff: Backoff) -> None:
        self.publish = publish
        self.clock = clock
        self.backoff = backoff
        self.random = random.Random()  # noqa: S311 - spreads requests, keeps no secret

    def fail(self, queue: str, error: SourceError) -> None:
        """Publishes the failure of a queue."""
        self.publish(
            ReadFailure(
                queue=queue,
                at=self.clock.time(),
                reason=str(error),
                detail=error.detail,
                code=error.code,
            )
        )


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
