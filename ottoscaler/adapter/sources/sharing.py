"""Readings that cost money are taken by one replica and given to the others.

Whoever runs the adapter's replicas decides which one reads (the holder of a Lease, `runtime/lease.py`) and
how the others get its readings; a source only asks. Alone, a replica always reads.

A reading keeps the time at which it was measured on its way, so what was passed on ages as it should.
"""

from typing import Final, Protocol

from ottoscaler.adapter.reading import Reading


class Sharing(Protocol):
    """What a source that costs money needs to know of the other replicas."""

    def reads(self) -> bool:
        """Whether this replica is the one that asks the backend now."""
        ...

    async def give(self, reading: Reading, meaning: str) -> None:
        """Offers a fresh reading to the other replicas, with the `meaning` of its queue. Raises nothing: that
        they have it is their business."""
        ...

    async def take(self, queue: str, meaning: str) -> Reading | None:
        """The newest reading that the replica which reads has offered; None when it cannot be had, or when the
        queue means something else there: configurations do not reach all replicas at once."""
        ...


class Alone:
    """One replica: it reads, and nobody else wants to know."""

    def reads(self) -> bool:
        return True

    async def give(self, reading: Reading, meaning: str) -> None:
        """Nobody is there."""

    async def take(self, queue: str, meaning: str) -> Reading | None:
        return None


ALONE: Final[Sharing] = Alone()
