"""One connection to a queue's event stream: a snapshot first, then what changes, for as long as it lasts.

What the table holds is true as of the last complete event, keep-alives included: events come in the order
of the writes, so whatever was written before the newest event was sent has been applied. The time taken is
that at which the event's last bytes were handed over, before they were parsed.
"""

from collections.abc import Callable

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firebase_errors import no_database, too_large
from ottoscaler.adapter.sources.firebase_events import EventStream, Signal, StreamEvent, TooLarge
from ottoscaler.adapter.sources.firebase_pruning import Malformed
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import FirebaseSettings
from ottoscaler.adapter.sources.firebase_table import JobTable, Unsettled
from ottoscaler.adapter.sources.firebase_token import AccessToken
from ottoscaler.runtime.clock import Clock

_HEADERS = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # a compressor holds events back until it has enough of them
    "Cache-Control": "no-cache",
}


class NodeStream:
    """A stream of one node, and the jobs as it has told them."""

    def __init__(
        self, database: RestDatabase, settings: FirebaseSettings, clock: Clock, *, opened_within: float
    ) -> None:
        self.table = JobTable()
        self.token: AccessToken | None = None
        """What the stream was opened with."""
        self.has_snapshot = False
        """Whether the table means anything."""
        self.heard_at = 0.0
        """Wall clock, seconds: when the newest event came."""
        self.heard_monotonic = 0.0
        self.snapshot_bytes = 0
        self._database = database
        self._settings = settings
        self._clock = clock
        self._opened_within = opened_within

    async def run(self, on_news: Callable[[], None]) -> None:
        """Follows the node; `on_news` is called after each piece of the stream that ended an event.

        Returns when a new snapshot is needed. Raises `SourceError` when the connection fails or ends.
        """
        silent_for = float(self._settings.read_timeout)
        async with self._database.get(
            self._settings.keys, headers=_HEADERS, opened_within=self._opened_within, silent_for=silent_for
        ) as (response, token):
            self.token = token
            if response.content_type != "text/event-stream":
                raise no_database(f"{response.content_type} instead of an event stream")
            events = EventStream(max_event_bytes=self._settings.max_event_bytes)
            between = self._clock.monotonic()
            async for chunk in response.content.iter_any():
                now, monotonic = self._clock.time(), self._clock.monotonic()
                if not self.has_snapshot:
                    self.snapshot_bytes += len(chunk)
                try:
                    completed = self._take(events.feed(chunk), now, monotonic)
                except Unsettled:
                    return
                except Malformed as error:
                    raise no_database(str(error)) from None
                except TooLarge:
                    raise too_large(self._settings.max_event_bytes) from None
                if completed:
                    on_news()
                if events.event_bytes == 0 or completed:
                    between = monotonic
                elif monotonic - between > silent_for:
                    raise SourceError("its database takes too long to send one event", code="unreachable")
            raise SourceError("its database ended the event stream", code="unreachable")

    def _take(self, events: list[StreamEvent], now: float, monotonic: float) -> bool:
        """Applies what has come. Whether the table is now known to be true as of `now`.

        A snapshot counts from when all that came with it has been applied.
        """
        begun = self.has_snapshot
        for event in events:
            match event:
                case Signal.CANCEL:
                    raise SourceError(
                        "its database's rules no longer let this credential read the path", code="forbidden"
                    )
                case Signal.AUTH_REVOKED:
                    if self.token is not None:
                        self._database.reject(self.token)
                    raise SourceError(
                        "its database revoked the credential; asking for a new one", code="unauthorized"
                    )
                case Signal.KEEP_ALIVE:
                    pass
                case writes:
                    if not begun and (not writes or writes[0][0]):
                        raise Malformed("a stream that does not begin with the whole node")
                    self.table.apply(writes)
                    begun = True
        if not events or not begun:
            return False
        self.has_snapshot = True
        self.heard_at, self.heard_monotonic = now, monotonic
        return True
