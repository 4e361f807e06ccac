"""What callers ask for, checked: an order to create workers of a task, or to keep only so many.

Redis events and gRPC calls both become these, so both are judged by the same rules in the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MAX_TASK_ID = 1024
"""Characters. Far beyond any label: the whole id is kept in an annotation."""
MAX_FACTS = 64 * 1024
"""Characters of everything that an order says besides its numbers."""
_EMPTY: Mapping[str, str] = MappingProxyType({})


class InvalidOrder(Exception):
    """The order cannot be meant; the message says which field and what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an order says about its work; reaches workers as environment variables."""

    repository: str = ""
    commit_sha: str = ""
    triggered_by: str = ""
    reason: str = ""
    config: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    metadata: Mapping[str, str] = field(default_factory=lambda: _EMPTY)

    def size(self) -> int:
        """Characters in all."""
        texts = [self.repository, self.commit_sha, self.triggered_by, self.reason]
        for mapping in (self.config, self.metadata):
            texts += [*mapping.keys(), *mapping.values()]
        return sum(map(len, texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asked. At most one of `event` and `request` is set; with neither the order cannot be repeated."""

    key: str
    """Tells this order from every other of the same task; the same when it comes again."""
    at: float
    """When it was asked for, seconds since the epoch."""
    event: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    """Create `count` workers of the task."""

    task_id: str
    count: int
    origin: Origin
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown:
    """Leave at most `keep` workers of the task."""

    task_id: str
    keep: int
    origin: Origin


def check_task_id(task_id: str) -> str:
    """`task_id` itself. Raises `InvalidOrder`."""
    if not task_id.strip():
        raise InvalidOrder("task_id is missing: say which task the workers belong to")
    if len(task_id) > MAX_TASK_ID:
        raise InvalidOrder(f"task_id has {len(task_id)} characters: at most {MAX_TASK_ID} are allowed")
    if "\0" in task_id:
        raise InvalidOrder("task_id contains a NUL character")
    return task_id


def check_count(count: int, *, name: str, least: int, most: int) -> int:
    """`count` itself. Raises `InvalidOrder`; `name` is what the caller calls it."""
    if count < least:
        raise InvalidOrder(f"{name} is {count}: it must be at least {least}")
    if count > most:
        raise InvalidOrder(f"{name} is {count}: at most {most} workers may be asked for at once")
    return count


def check_facts(facts: Facts) -> Facts:
    """`facts` itself. Raises `InvalidOrder`."""
    size = facts.size()
    if size > MAX_FACTS:
        raise InvalidOrder(
            f"the order carries {size} characters of metadata: at most {MAX_FACTS} are allowed"
        )
    for mapping in (facts.config, facts.metadata):
        for key, value in mapping.items():
            if "\0" in key or "\0" in value:
                raise InvalidOrder(f"metadata {key[:40]!r} contains a NUL character")
    for name in ("repository", "commit_sha", "triggered_by", "reason"):
        if "\0" in getattr(facts, name):
            raise InvalidOrder(f"{name} contains a NUL character")
    return facts
