"""What a source is, and how a backend joins.

A source is one connection to one backend. It serves every queue that shares that connection, so
that a thousand streams on one Redis are one pipeline and a hundred nodes of one Firebase database
share a token. It only reads and publishes: supervision, backoff, deadlines, freshness, metrics and
logging are given to it by whoever runs it (`adapter/supervisor.py`).

Adding a backend is one module that defines a `Backend`, and one line in `adapter/sources/registry.py`
(or an entry point of the group `ottoscaler.backends` in another package).

A backend's settings are a frozen msgspec struct with `forbid_unknown_fields=True`. Field types are
msgspec's own, nested structs, `Duration` (`30s`) and `pathlib.Path` (see `ottoscaler/runtime/values.py`). Rules that
join fields are a `__post_init__` that raises `ValueError` in words for people; configuration adds the
path and the line.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

from ottoscaler.adapter.reading import FailureCode, ReadFailure, Reading
from ottoscaler.adapter.sources.sharing import ALONE, Sharing
from ottoscaler.runtime.clock import Clock

Settings = TypeVar("Settings", bound=msgspec.Struct)

Publish = Callable[[Reading | ReadFailure], None]
"""Takes what a source has learned; returns at once, never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue(Generic[Settings]):
    """A queue as its source sees it."""

    name: str
    settings: Settings
    """The backend's own block of the configuration."""
    interval: float
    """Seconds between two measurements of a polled queue."""
    timeout: float
    """Seconds that one measurement may take."""
    stalled_after: float | None
    """Seconds without a sign of life after which a held job is stalled; None: the backend's own rule."""

    @property
    def meaning(self) -> str:
        """The same for queues that measure the same, in whatever process."""
        return hashlib.sha256(repr((self.settings, self.stalled_after)).encode()).hexdigest()[:16]

    def measures_as(self, other: "Queue[Any] | None") -> bool:
        """Whether a measurement of `other` is one of this queue: all else is how often, and how patiently."""
        return (
            other is not None
            and self.settings == other.settings
            and self.stalled_after == other.stalled_after
        )


def while_configured(
    publish: Publish, queue: Queue[Any], configured: Callable[[str], Queue[Any] | None]
) -> Publish:
    """`publish`, for as long as the name of `queue` means what it means now.

    A reload may overtake a measurement, whose number would be taken for one of the queue that has the name since.
    """

    def checked(news: Reading | ReadFailure) -> None:
        if queue.measures_as(configured(queue.name)):
            publish(news)

    return checked


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRule:
    """A queue is served in parts, one for each combination of values that these labels have."""

    labels: frozenset[str]
    absent: Literal["error", "empty"]
    """What it means that no part has the labels which are asked for."""


JobState = Literal["processing", "stalled", "failed", "other"]
"""States besides waiting, which every backend counts. One that has an optional method
`uncounted(settings) -> frozenset[JobState]` says which it does not count for queues with these settings: nothing is served of
them then, where a 0 would be read as counted."""


class SourceError(Exception):
    """The whole source failed: no queue of it could be read.

    `str(error)` is shown to people through the API: no address, credential or backend text in it.
    `detail` goes to the log.
    """

    def __init__(self, reason: str, *, detail: str = "", code: FailureCode = "error") -> None:
        super().__init__(reason)
        self.detail = detail
        self.code: FailureCode = code


class Source(Protocol):
    """One connection to a backend and the queues that are read through it."""

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        """Replaces the set of queues to read, at any time (configuration reload), without reconnecting."""
        ...

    async def run(self, publish: Publish) -> None:
        """Reads until cancelled, publishing a `Reading` or a `ReadFailure` whenever one is known.

        Raises `SourceError` when the connection as a whole failed; the supervisor then reports it for
        every queue, backs off, and calls `run` again. Releases every resource when it ends for
        whatever reason.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a source is given by its surroundings."""

    clock: Clock
    environ: Mapping[str, str]
    count: Callable[[str, str, float], None] = lambda queue, what, amount: None
    """Adds to a cost of reading that people watch: `count("generator", "document_reads", 12)`."""
    sharing: Sharing = ALONE
    """Which replica reads what costs money; the others take its readings."""


class Backend(Protocol[Settings]):
    """A kind of backend: its configuration block, and how to make a source from it."""

    block: ClassVar[str]
    """The key in a queue's configuration, e.g. `redis`."""
    settings: type[Settings]
    """A frozen msgspec struct (camelCase keys, unknown keys refused) that the block is decoded into."""

    def kind(self, settings: Settings) -> str:
        """The value of the `kind` label, e.g. `redis-stream`."""
        ...

    def connection(self, settings: Settings) -> Hashable:
        """What queues must have in common to share one source."""
        ...

    def source(self, settings: Settings, context: SourceContext) -> Source:
        """A source for all queues whose `connection` equals that of `settings`."""
        ...
