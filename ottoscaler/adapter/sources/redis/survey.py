"""One measurement of one queue, without I/O.

A survey says which commands it needs, is given their replies, and says what they mean, or that it needs
another transaction. Who sends them, over which connection and with how many others in one pipeline, is the
source's business; so every rule of counting is tested without a network, and proved against a model.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ottoscaler.adapter.reading import ReadFailure, Reading

Command = tuple[str | bytes | int, ...]


class Moment(NamedTuple):
    """When a transaction was sent, and since when the reading goes on."""

    sent: float
    """Seconds since the epoch: not later than what the replies say was true."""
    took: float
    """Seconds since the reading began."""


class Survey(Protocol):
    """How a queue is measured. It lives as long as a connection and remembers what helps the next reading."""

    def begin(self) -> list[Command]:
        """The commands of the first transaction of a reading."""
        ...

    def take(
        self, replies: Sequence[Any], moment: Moment, *, final: bool
    ) -> Reading | ReadFailure | list[Command]:
        """What the replies to the last commands mean, or the commands of the next transaction.

        An error that a single command got stands in its place. With `final` there is no next transaction.
        Raises `snapshot.Malformed` when the replies cannot belong to the commands.
        """
        ...
