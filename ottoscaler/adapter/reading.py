"""What is known of a queue, and when it was measured.

A `Reading` is the only thing that travels from a source to the API. It is immutable and says what
was counted, never what was assumed: a source that could not count publishes nothing, or a
`ReadFailure`, and the last reading ages until it is too old to serve.
"""

from bisect import bisect_right
from typing import Literal, NamedTuple

import msgspec

from ottoscaler.runtime.values import format_duration

CLOCK_SKEW = 5.0
"""Seconds that a backend's clock may be ahead of ours."""

FailureCode = Literal[
    "unreachable",  # refused, reset, no such host, no answer in time
    "unauthorized",  # credentials missing, wrong or expired
    "forbidden",  # credentials good, right missing
    "missing",  # the stream, node, collection or series is not there
    "limited",  # told to come later
    "invalid",  # an answer that cannot be what it should be
    "error",  # anything else
]
"""A failure in one word, for metrics, where free text would make series without end."""


class Counts(NamedTuple):
    """Jobs of one queue by state at one moment."""

    waiting: int
    processing: int
    stalled: int
    failed: int

    @property
    def demand(self) -> int:
        """Waiting + processing: what an HPA should follow, so that busy pods stay counted."""
        return self.waiting + self.processing


class Held(NamedTuple):
    """A job that a pod holds."""

    job: str
    holder: str
    """The pod's name (Firebase), or the consumer's name (Redis)."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a queue that is served by itself, told from the others by its labels."""

    labels: dict[str, str]
    """Of the keys that the queue's `SeriesRule` names; those that the part has."""
    waiting: int = 0
    processing: int = 0
    oldest_waiting_at: float | None = None
    """As in `Reading`."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one queue.

    `heartbeats` are the times (seconds since the epoch, ascending) of the last sign of life of each
    job in work whose state depends on the time of asking: a job turns from processing to stalled
    without any event, so it is judged when read. `processing` and `stalled` are jobs whose state is
    already settled.
    """

    queue: str
    measured_at: float
    """Seconds since the epoch at which the backend said so."""
    waiting: int = 0
    processing: int = 0
    stalled: int = 0
    failed: int = 0
    other: int = 0
    """Jobs that fit no state of the contract; shown to people, part of no metric."""
    heartbeats: tuple[float, ...] = ()
    heartbeat_timeout: float = 300.0
    """Seconds of silence after which a held job counts as stalled."""
    oldest_waiting_at: float | None = None
    """Seconds since the epoch at which the oldest waiting job was created; None when nothing waits or
    the backend cannot say."""
    held: tuple[Held, ...] = ()
    series: tuple[Series, ...] = ()
    """The parts of a queue that has a `SeriesRule`; the counts above are their sums."""
    lower_bound: bool = False
    """True when counting stopped at a cap: there is at least this much."""
    took: float | None = None
    """Seconds that the measurement took, where it is one (a poll); None for what was pushed."""

    def counts(self, now: float) -> Counts:
        """The jobs by state, seen at `now` (seconds since the epoch).

        A heartbeat exactly `heartbeat_timeout` old is no longer younger than it: stalled.
        """
        silent = bisect_right(self.heartbeats, now - self.heartbeat_timeout)
        return Counts(
            waiting=self.waiting,
            processing=self.processing + len(self.heartbeats) - silent,
            stalled=self.stalled + silent,
            failed=self.failed,
        )


def from_the_future(measured_at: float, now: float) -> str | None:
    """Why a measurement cannot have been made at `measured_at`, in words for people; None when it can."""
    if measured_at <= now + CLOCK_SKEW:
        return None
    ahead = format_duration(round(measured_at - now))
    return f"measured {ahead} in the future: check the clocks of the backend and of this pod"


class ReadFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A queue that could not be read this time.

    `reason` is shown to people through the API, so it names no address, credential or backend text;
    `detail` is for the log.
    """

    queue: str
    at: float
    """Seconds since the epoch."""
    reason: str
    detail: str = ""
    code: FailureCode = "error"
