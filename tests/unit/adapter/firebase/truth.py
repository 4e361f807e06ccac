"""The contract's rules said a second time, over whole documents, to judge the ones that ship.

Nothing here is shared with the adapter: no reduction, no tables, no marks.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=True)
class Truth:
    """What a queue's node holds."""

    waiting: int = 0
    failed: int = 0
    other: int = 0
    heartbeats: list[float] = field(default_factory=list)
    held: set[tuple[str, str]] = field(default_factory=set)
    created: list[float] = field(default_factory=list)
    """Of waiting jobs that say so, in seconds."""


def plain(document: dict[str, Any], name: str) -> Any:
    """A field's value, in its own place or one level down under its own name."""
    value = document.get(name)
    if isinstance(value, dict):
        return value.get(name, value)
    return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def judge(node: Any) -> Truth | None:
    """None when the node is no queue: it holds something, and no object."""
    truth = Truth()
    if node is None:
        return truth
    if not isinstance(node, dict) or not any(isinstance(child, dict) for child in node.values()):
        return None
    for key, job in node.items():
        if not isinstance(job, dict):
            truth.other += 1
            continue
        status, pod = plain(job, "status"), plain(job, "assignedPodId")
        heartbeat, created = plain(job, "lastHeartbeat"), plain(job, "createdAt")
        if status == "failed":
            truth.failed += 1
        elif pod is None or pod == "":
            truth.waiting += 1
            if is_number(created) and 1e11 <= created < 1e14:
                truth.created.append(created / 1000)
        else:
            if isinstance(pod, str):
                truth.held.add((key, pod))
            if (
                isinstance(pod, str)
                and status == "processing"
                and is_number(heartbeat)
                and 0 < heartbeat < 1e11
            ):
                truth.heartbeats.append(float(heartbeat))
            else:
                truth.other += 1
    truth.heartbeats.sort()
    return truth
