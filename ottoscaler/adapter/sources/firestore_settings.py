"""The `firestore` block of a queue.

No query of Firestore finds documents that *lack* a field, and `status != "failed"` drops those without a
status. So how waiting jobs can be counted depends on what their writers store, and the block says it.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MINIMUM_INTERVAL = 10.0
"""Seconds. Every measurement is paid for, so a shorter interval of a queue is lengthened to this."""
_PROJECT = re.compile(r"[a-z0-9.:-]{1,100}")
_DATABASE = re.compile(r"\(default\)|[a-z](?:[-a-z0-9]{2,61}[a-z0-9])")
_MOST_STATES = 10
"""A query holds 30 alternatives, and a state may need two."""

State = Annotated[str, Meta(min_length=1, max_length=100)]


class FirestoreSettings(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """One collection of Cloud Firestore whose documents are jobs."""

    collection: str
    project: str | None = None
    """That of the credentials when absent."""
    database: str = "(default)"
    service_account_file: Path | None = None
    """Application-default credentials when absent."""
    read: Literal["counts", "documents"] = "counts"
    """`documents` reads the counted fields of every document: exact for any document, at a read for each."""
    waiting: Literal["unassigned", "status", "null"] = "unassigned"
    """How counts find waiting jobs: all but those with an `assignedPodId` or failed; by their status, which
    every writer sets; or by an `assignedPodId` that writers set to null."""
    waiting_states: Annotated[tuple[State, ...], Meta(min_length=1, max_length=_MOST_STATES)] = ("pending",)
    historic_fields: bool = True
    """Whether counts find `{"status": {"status": …}}` as well, which takes one more index."""
    oldest_within: Annotated[int, Meta(ge=0, le=1000)] = 20
    """How many of the oldest documents may be read to find the oldest waiting one; 0: its age is not asked."""

    def __post_init__(self) -> None:
        segments = self.collection.split("/")
        if len(segments) % 2 == 0 or any(
            not segment or segment in (".", "..") or re.fullmatch("__.*__", segment) for segment in segments
        ):
            raise ValueError(
                f"collection {self.collection[:80]!r} is no path of a collection: "
                "it has one name, or names and documents in turn, such as queues/generator/jobs"
            )
        if self.project is not None and not _PROJECT.fullmatch(self.project):
            raise ValueError(f"project {self.project[:80]!r} is no project ID")
        if not _DATABASE.fullmatch(self.database):
            raise ValueError(f"database {self.database[:80]!r} is no database ID")
        wrong = {"failed", "processing"} & set(self.waiting_states)
        if wrong:
            raise ValueError(f"waitingStates: {min(wrong)} does not mean waiting")

    @property
    def group(self) -> str:
        """The collection's own name, which indexes are made for."""
        return self.collection.rpartition("/")[2]
