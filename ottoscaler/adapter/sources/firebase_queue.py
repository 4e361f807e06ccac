"""One queue of a database: read for ever, in the way that it asks for, whatever fails.

A queue fails alone: its failure is published and tried again with backoff, while the others of the same
database go on.
"""

import random

from ottoscaler.adapter.reading import ReadFailure
from ottoscaler.adapter.sources.base import Publish, Queue, SourceError
from ottoscaler.adapter.sources.firebase_poll import NodePoll
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.tasks import Backoff

_SPREAD = 0.1
"""Share of an interval by which measurements are spread, so that many queues are not asked in step."""


class QueueReader:
    """Publishes readings and failures of `queue`, which may be replaced by one with the same settings."""

    def __init__(
        self, database: RestDatabase, queue: Queue[FirebaseSettings], publish: Publish, clock: Clock
    ) -> None:
        self.queue = queue
        self._database = database
        self._publish = publish
        self._clock = clock
        self._backoff = Backoff(initial=0.5, maximum=30.0)
        self._random = random.Random()  # noqa: S311 - spreads requests, keeps no secret

    async def run(self) -> None:
        """Until cancelled."""
        await self._poll()

    async def _poll(self) -> None:
        node = NodePoll(self._database, self._clock)
        while True:
            began = self._clock.monotonic()
            try:
                self._publish(await node.measure(self.queue))
                self._backoff.reset()
                wait = self.queue.interval
            except SourceError as error:
                self._fail(error)
                wait = min(self.queue.interval, self._backoff.next())
            wait *= self._random.uniform(1 - _SPREAD, 1.0)
            await self._clock.sleep(max(0.0, began + wait - self._clock.monotonic()))

    def _fail(self, error: SourceError) -> None:
        self._publish(
            ReadFailure(
                queue=self.queue.name,
                at=self._clock.time(),
                reason=str(error),
                detail=error.detail,
                code=error.code,
            )
        )
