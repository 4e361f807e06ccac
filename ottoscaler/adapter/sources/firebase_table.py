"""The jobs of one node as they stand now: whole values and changes go in, readings come out.

Changes come at any depth: the node replaced, a job set or removed, a field, or the inside of a field of a
historic writer. The database keeps no empty objects, so removing the last thing inside a job removes the
job. What of a job does not count is reduced to a mark, which is enough to know that it still exists; only
when everything left of a job *may* have gone with a change inside of it is a new snapshot needed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ottoscaler.adapter.reading import Held, Reading
from ottoscaler.adapter.sources.firebase_jobs import COUNTED, STALLED_AFTER, Job, Mark, State, classify
from ottoscaler.adapter.sources.firebase_pruning import Path, Write


class Unsettled(Exception):
    """What was received does not say whether a job is still there: a snapshot is needed."""


class NotAQueue(Exception):
    """The node holds something, and no job: a wrong path, most likely."""


class JobTable:
    """All jobs of a node, reduced, and how many are in each state."""

    def __init__(self) -> None:
        self._root: Any = None
        """A dictionary of jobs; None when the node is empty; else what is no queue."""
        self._waiting: dict[str, float | None] = {}
        self._held: dict[str, Job] = {}
        self._failed: set[str] = set()
        self._other: dict[str, Job] = {}
        self._objects = 0
        self._oldest: float | None = None
        self._oldest_known = True

    def __len__(self) -> int:
        return len(self._root) if isinstance(self._root, dict) else 0

    def same_as(self, other: "JobTable") -> bool:
        """Whether both hold the same jobs, as far as they count and as far as they are sure."""
        return _same(self._root, other._root)

    def apply(self, writes: Iterable[Write]) -> None:
        """Changes the jobs. Raises `Unsettled`; the table is of no use then."""
        for path, value in writes:
            if not path:
                self._replace(value)
            else:
                self._change(path, value)

    def reading(
        self,
        queue: str,
        *,
        measured_at: float,
        stalled_after: float | None,
        took: float | None = None,
    ) -> Reading:
        """The jobs by state. Raises `NotAQueue`."""
        if self._root is not None and not self._objects:
            raise NotAQueue
        return Reading(
            queue=queue,
            measured_at=measured_at,
            waiting=len(self._waiting),
            failed=len(self._failed),
            other=len(self._other),
            heartbeats=tuple(sorted(job.heartbeat for job in self._held.values())),
            heartbeat_timeout=STALLED_AFTER if stalled_after is None else stalled_after,
            oldest_waiting_at=self._oldest_waiting_at(),
            held=tuple(_holders(self._held, self._other)),
            took=took,
        )

    def _oldest_waiting_at(self) -> float | None:
        if not self._oldest_known:
            known = (created for created in self._waiting.values() if created is not None)
            self._oldest = min(known, default=None)
            self._oldest_known = True
        return self._oldest

    def _replace(self, root: Any) -> None:
        for group in (self._waiting, self._held, self._failed, self._other):
            group.clear()
        self._objects = 0
        self._oldest_known = False
        self._root = root
        if isinstance(root, dict):
            for key, document in root.items():
                self._count(key, document)

    def _change(self, path: Path, value: Any) -> None:
        key, inside = path[0], path[1:]
        jobs = self._root if isinstance(self._root, dict) else {}
        old = jobs.get(key)
        new = value if not inside else _with_field(old, inside, value)
        if old is None and new is None:
            return
        if old is not None:
            self._discount(key, old)
        if new is None:
            del jobs[key]
        else:
            _check_settled(new)
            jobs[key] = new
            self._count(key, new)
        self._root = jobs or None

    def _count(self, key: str, document: Any) -> None:
        job = classify(document)
        self._objects += isinstance(document, dict)
        match job.state:
            case State.WAITING:
                self._waiting[key] = job.created_at
                self._oldest_known = False
            case State.HELD:
                self._held[key] = job
            case State.FAILED:
                self._failed.add(key)
            case State.OTHER:
                self._other[key] = job

    def _discount(self, key: str, document: Any) -> None:
        self._objects -= isinstance(document, dict)
        if key in self._waiting:
            self._oldest_known = False
            del self._waiting[key]
        self._held.pop(key, None)
        self._failed.discard(key)
        self._other.pop(key, None)


def _same(one: Any, other: Any) -> bool:
    """Whether two reduced values may be the same one: of what is perhaps there, a mark or nothing is left."""
    if one == other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    return Mark.MAYBE in (one, other) and all(
        value is None or isinstance(value, Mark) for value in (one, other)
    )


def _holders(*jobs: Mapping[str, Job]) -> Iterable[Held]:
    for group in jobs:
        for key, job in group.items():
            if job.holder is not None:
                yield Held(job=key, holder=job.holder)


def _with_field(job: Any, path: Path, value: Any) -> Any:
    """`job` after a write at `path` inside of it; None when nothing is left."""
    if not isinstance(job, dict):
        if value is None:
            return job  # nothing inside of it could be removed
        job = {}
    name, inside = path[0], path[1:]
    return _with_member(job, name, _with_inside(name, job.get(name), inside, value) if inside else value)


def _with_inside(name: str, old: Any, path: Path, value: Any) -> Any:
    """A field after a write at `path` inside of it."""
    if name not in COUNTED:
        return _with_hidden(old, value)
    if not isinstance(old, dict):
        if value is None:
            return old
        old = {}
    key, deeper = path[0], path[1:]
    return _with_member(old, key, _with_hidden(old.get(key), value) if deeper else value)


def _with_hidden(old: Any, value: Any) -> Any:
    """A value whose content is not kept, after a write somewhere inside of it."""
    if value is not None:
        return Mark.SOMETHING
    return Mark.MAYBE if isinstance(old, Mark) else old


def _with_member(container: dict[str, Any], key: str, value: Any) -> Any:
    rest = {name: member for name, member in container.items() if name != key}
    if value is not None:
        rest[key] = value
    return rest or None


def _check_settled(document: Any) -> None:
    if not isinstance(document, dict):
        return
    if all(_is_unsure(value) for value in document.values()) or any(
        _is_unsure(document.get(name)) for name in COUNTED
    ):
        raise Unsettled


def _is_unsure(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_unsure(member) for member in value.values())
    return value is Mark.MAYBE
