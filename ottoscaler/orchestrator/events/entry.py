"""One entry of the stream, and the order that it means.

    XADD otto:scale:events * type scale_up pod_count 3 task_id task-123

Every other field is about the work: `repository`, `commit_sha`, `triggered_by` and `reason` by name,
the rest as metadata. Field values are bytes that anybody may have written, so nothing is assumed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ottoscaler.orchestrator.orders import (
    Facts,
    InvalidOrder,
    Origin,
    ScaleDown,
    ScaleUp,
    check_count,
    check_facts,
    check_task_id,
)

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_MOST_FIELDS = 256


class EntryId(NamedTuple):
    """`<milliseconds>-<sequence>`, in the stream's order."""

    ms: int
    sequence: int

    @classmethod
    def parse(cls, text: str) -> "EntryId":
        """Raises `ValueError`."""
        ms, _, sequence = text.partition("-")
        return cls(int(ms), int(sequence or 0))

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What was delivered."""

    id: EntryId
    fields: Mapping[bytes, bytes]
    deliveries: int = 1
    """How often it has been delivered, this time included."""


def read_order(entry: Entry, *, source: str, most: int) -> ScaleUp | ScaleDown:
    """The order that `entry` means. Raises `InvalidOrder`.

    `source` names the stream and group, so that equal ids of two streams are two orders; `most` is the
    largest count that may be asked for.
    """
    if len(entry.fields) > _MOST_FIELDS:
        raise InvalidOrder(f"the event has {len(entry.fields)} fields: at most {_MOST_FIELDS} are allowed")
    fields = {_text(key, "a field's name"): _text(value, _shown(key)) for key, value in entry.fields.items()}
    kind = fields.pop("type", "").strip()
    if not kind:
        raise InvalidOrder("type is missing: use scale_up or scale_down")
    if kind not in {"scale_up", "scale_down"}:
        raise InvalidOrder(f"type is {kind[:60]!r}: use scale_up or scale_down")
    if "task_id" not in fields:
        raise InvalidOrder("task_id is missing: say which task the workers belong to")
    task_id = check_task_id(fields.pop("task_id"))
    count = _count(fields.pop("pod_count", None), kind)
    origin = Origin(key=f"{source}\n{entry.id}", at=entry.id.ms / 1000, event=str(entry.id))
    if kind == "scale_down":
        keep = check_count(count, name="pod_count", least=0, most=1_000_000)
        return ScaleDown(task_id=task_id, keep=keep, origin=origin)
    facts = Facts(
        repository=fields.pop("repository", ""),
        commit_sha=fields.pop("commit_sha", ""),
        triggered_by=fields.pop("triggered_by", ""),
        reason=fields.pop("reason", ""),
        metadata=fields,
    )
    return ScaleUp(
        task_id=task_id,
        count=check_count(count, name="pod_count", least=1, most=most),
        origin=origin,
        facts=check_facts(facts),
    )


def task_of(fields: Mapping[bytes, bytes]) -> str | None:
    """The task of an entry, whatever else is wrong with it."""
    value = fields.get(b"task_id")
    return None if value is None else value.decode(errors="replace")


def _count(text: str | None, kind: str) -> int:
    if text is None:
        said = (
            "how many workers may remain, 0 for none"
            if kind == "scale_down"
            else "how many workers to create"
        )
        raise InvalidOrder(f"pod_count is missing: say {said}")
    if not _WHOLE.fullmatch(text.strip()):
        raise InvalidOrder(f"pod_count is {text[:40]!r}: it must be a whole number")
    return int(text)


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidOrder(f"{what} is not UTF-8") from None


def _shown(key: bytes) -> str:
    return key[:40].decode(errors="replace")
