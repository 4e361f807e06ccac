"""What state a job document is in, by the contract of the job queue, whatever its writers stored.

Realtime Database and Firestore hold the same documents. The rules, in the order they are asked:

1. `status` is `failed`: failed.
2. no `assignedPodId`: waiting, whatever else the status says.
3. `assignedPodId` set, `status` is `processing`, a heartbeat there: processing while the heartbeat is
   younger than the queue's limit, then stalled (judged when read).
4. anything else is *other*: it is nobody's to take, and nobody is known to be at work on it.

Historic writers stored a field as an object that holds the value under the field's own name; both forms
are read. A value of a wrong type is not guessed at (docs/decisions/0060).
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

ASSIGNED = "assignedPodId"
STATUS = "status"
HEARTBEAT = "lastHeartbeat"
CREATED = "createdAt"
COUNTED: Final = frozenset({ASSIGNED, STATUS, HEARTBEAT, CREATED})
"""The fields that decide; all others are only known to be there."""
STALLED_AFTER = 300.0
"""Seconds of silence after which a held job is stalled, unless the queue says otherwise."""

_LATEST_SECONDS = 1e11
"""A heartbeat is in seconds: more than this (the year 5138) is milliseconds or nonsense."""
EARLIEST_MS, LATEST_MS = 1e11, 1e14
"""`createdAt` is in milliseconds: less than this (1973) is seconds or nonsense."""


class Mark(Enum):
    """Stands for a value whose content does not matter."""

    SOMETHING = "there, and not a value that a counted field can have"
    MAYBE = "perhaps no longer there: something inside it was removed"


class State(Enum):
    """Where a job is; whether one that is held is stalled depends on the time of asking."""

    WAITING = "waiting"
    HELD = "held"
    FAILED = "failed"
    OTHER = "other"


class Job(NamedTuple):
    """A classified job."""

    state: State
    holder: str | None = None
    """The pod that holds it, also where its state is *other*."""
    heartbeat: float = 0.0
    """Seconds since the epoch; of a held job."""
    created_at: float | None = None
    """Seconds since the epoch; of a waiting job, None when it does not say."""


_FAILED = Job(State.FAILED)
_OTHER = Job(State.OTHER)


def classify(document: Any) -> Job:
    """The state of a document as stored; what is no object at all is *other*."""
    if not isinstance(document, Mapping):
        return _OTHER
    status = field(document, STATUS)
    if status == "failed":
        return _FAILED
    assigned = field(document, ASSIGNED)
    if assigned is None or assigned == "":
        return Job(State.WAITING, created_at=_created_at(document))
    if not isinstance(assigned, str):
        return _OTHER
    heartbeat = _heartbeat(document)
    if status == "processing" and heartbeat is not None:
        return Job(State.HELD, assigned, heartbeat)
    return Job(State.OTHER, assigned)


def field(document: Mapping[str, Any], name: str) -> Any:
    """The value of a field, in its own place or in an object under its own name; None when absent.

    An object without that name is `Mark.SOMETHING`: set, to nothing that can be used.
    """
    value = document.get(name)
    if isinstance(value, Mapping):
        value = value.get(name, Mark.SOMETHING)
    return value


def _heartbeat(document: Mapping[str, Any]) -> float | None:
    value = _number(field(document, HEARTBEAT))
    return value if value is not None and 0 < value < _LATEST_SECONDS else None


def _created_at(document: Mapping[str, Any]) -> float | None:
    value = _number(field(document, CREATED))
    return value / 1000 if value is not None and EARLIEST_MS <= value < LATEST_MS else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
