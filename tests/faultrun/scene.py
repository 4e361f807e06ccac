"""What a backend brings to a run: queues that are written, and faults that can happen to them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ottoscaler.adapter.config.model import Config
from tests.faultrun.clock import JumpingClock, Span
from tests.faultrun.truth import TruthLog


class Sign(Enum):
    """What in the metrics must speak of a fault."""

    FAILURE = "a failure of its queue"
    TOKEN = "a refused token, or a failure, of any queue"
    CLOCK = "the clock's shift"
    MOVE = "another server, or a failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a scene promises of its backend. Seconds."""

    max_age: float
    back_off: float
    """The longest wait between two attempts."""
    reading: float
    """The longest that one reading may take."""
    delivery: float = 0.0
    """How long a pushed write may be on its way: server, judge and adapter share one busy loop."""
    taking: float = 0.0
    """How long after its timestamp a sample may still have been taken."""
    skew: float = 0.0
    """By how much a backend's clock may differ from ours without being refused."""

    @property
    def recovery(self) -> float:
        """An attempt may be under way, and lost, when its fault ends; then come a back-off and a reading."""
        return self.reading + self.back_off + self.reading


class Scene(Protocol):
    """A backend with queues."""

    clock: JumpingClock
    terms: Terms

    @property
    def truths(self) -> Mapping[str, TruthLog]:
        """What is true of each queue, by name."""
        ...

    @property
    def common(self) -> Collection[str]:
        """Kinds of faults that hit all queues at once."""
        ...

    def config(self) -> Config:
        """The adapter's configuration."""
        ...

    def kinds(self, queue: str) -> Sequence[str]:
        """What can happen to a queue."""
        ...

    def sign(self, kind: str) -> Sign:
        """What must show that it happened."""
        ...

    def spans(self, start: float, end: float) -> Iterator[Span]:
        """When (monotonic) a reading can have been measured whose time (wall) lies from `start` to `end`."""
        ...

    async def write(self, queue: str) -> None:
        """A random change of a queue, which its truth log learns of."""
        ...

    async def inflict(self, kind: str, queue: str) -> bool:
        """Makes ready a fault; False when it could not happen just now."""
        ...

    def has_begun(self, kind: str, queue: str) -> bool:
        """Whether what was inflicted has met what it was meant for."""
        ...

    async def relieve(self, kind: str, queue: str) -> None:
        """Ends it, where it does not end by itself."""
        ...
