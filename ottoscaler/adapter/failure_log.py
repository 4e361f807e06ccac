"""One log line for each queue that begins to fail or works again, and no flood.

A server with a thousand streams that goes away fails a thousand times at once; the first lines tell
the story, and a count tells the rest.
"""

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.readings import News
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger

log = get_logger("queues")

_LINES = 10
_SPAN = 60.0
"""At most so many lines in so many seconds for one connection."""


class FailureLog:
    """The lines of one connection's queues."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._lines = 0

    def note(self, news: Reading | ReadFailure, meaning: News) -> None:
        """Logs what changed for the queue, unless too much changed lately."""
        if meaning not in {News.FAILED, News.RECOVERED} or not self._allowed():
            return
        if meaning is News.RECOVERED:
            log.info("queue is read again", queue=news.queue)
        elif isinstance(news, ReadFailure):
            log.warning("queue cannot be read", queue=news.queue, reason=news.reason, detail=news.detail)
        else:
            log.warning(
                "reading refused: it cannot be true",
                queue=news.queue,
                counts=str(news.counts(news.measured_at)),
            )

    def _allowed(self) -> bool:
        now = self._clock.monotonic()
        if now - self._began >= _SPAN:
            if self._lines > _LINES:
                log.warning("more queues changed than were logged", unlogged=self._lines - _LINES)
            self._began, self._lines = now, 0
        self._lines += 1
        return self._lines <= _LINES
