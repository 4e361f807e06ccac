"""Which queries together say how many jobs of a collection are in which state.

    all      = count()
    failed   = count(status is failed)
    waiting  = by the queue's rule, a sum of counts, some of them subtracted
    held     = the documents with status processing, which are few and whose heartbeats must be seen
    other    = all - failed - waiting - those of held that are processing or stalled

Each query knows the composite index that it needs, if any, so that a refusal can name it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud.firestore import AsyncCollectionReference
from google.cloud.firestore_v1.base_query import BaseFilter, FieldFilter, Or
from google.cloud.firestore_v1.field_path import FieldPath

from ottoscaler.adapter.sources.firebase_jobs import ASSIGNED, COUNTED, CREATED, EARLIEST_MS, STATUS
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings

Index = tuple[str, ...]
"""The fields of a composite index, all ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A query and the composite indexes it needs."""

    query: Any
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The queries of one measurement."""

    moment: Query
    """The cheapest count there is: asked first, for the time of its answer."""
    every: Query
    failed: Query
    waiting: tuple[tuple[int, Query], ...]
    """Counts that are added (1) or subtracted (-1); `every` and `failed` are among them by identity."""
    held: Query
    oldest: Query | None

    @property
    def counts(self) -> tuple[Query, ...]:
        """Every count that is added up, once."""
        return tuple(dict.fromkeys((self.every, self.failed, *(query for _, query in self.waiting))))


def plan(collection: AsyncCollectionReference, settings: FirestoreSettings) -> Plan:
    """The queries for a collection whose writers do as `settings` say."""
    every = Query(collection)
    failed = Query(collection.where(filter=_status(settings, ["failed"])))
    is_set = FieldFilter(ASSIGNED, "!=", "")  # neither absent, nor null, nor empty; of any type
    waiting: tuple[tuple[int, Query], ...]
    candidates: Any = collection
    indexes: tuple[Index, ...] = ()
    match settings.waiting:
        case "unassigned":
            both = Query(failed.query.where(filter=is_set), _with(settings, ASSIGNED))
            assigned = Query(collection.where(filter=is_set))
            waiting = ((1, every), (-1, assigned), (-1, failed), (1, both))
        case "status":
            states = Query(collection.where(filter=_status(settings, settings.waiting_states)))
            waiting = ((1, states),)
            candidates, indexes = states.query, _with(settings, CREATED)
        case "null":
            nulls = Query(collection.where(filter=FieldFilter(ASSIGNED, "==", None)))
            waiting = ((1, nulls), (-1, Query(nulls.query.where(filter=_status(settings, ["failed"])))))
            candidates, indexes = nulls.query, ((ASSIGNED, CREATED),)
    return Plan(
        moment=Query(collection.limit(1)),
        every=every,
        failed=failed,
        waiting=waiting,
        held=Query(collection.where(filter=_status(settings, ["processing"])).select(_SEEN)),
        oldest=_oldest(candidates, indexes, settings),
    )


def everything(collection: AsyncCollectionReference) -> Query:
    """The counted fields of every document."""
    return Query(collection.select(_SEEN))


_SEEN = sorted(COUNTED)


def _oldest(candidates: Any, indexes: tuple[Index, ...], settings: FirestoreSettings) -> Query | None:
    """The oldest candidates by `createdAt`, where it can be a time; some may turn out not to wait."""
    if settings.oldest_within == 0:
        return None
    dated = candidates.where(filter=FieldFilter(CREATED, ">=", EARLIEST_MS))
    return Query(dated.order_by(CREATED).select(_SEEN).limit(settings.oldest_within), indexes)


def _status(settings: FirestoreSettings, states: Sequence[str]) -> Any:
    """Whose status is one of `states`, in its own place or inside an object of its own name."""
    paths = _status_paths(settings)
    filters: list[BaseFilter] = [
        FieldFilter(path, "==", states[0]) if len(states) == 1 else FieldFilter(path, "in", list(states))
        for path in paths
    ]
    return filters[0] if len(filters) == 1 else Or(filters)


def _with(settings: FirestoreSettings, field: str) -> tuple[Index, ...]:
    return tuple((path, field) for path in _status_paths(settings))


def _status_paths(settings: FirestoreSettings) -> tuple[str, ...]:
    nested = FieldPath(STATUS, STATUS).to_api_repr()
    return (STATUS, nested) if settings.historic_fields else (STATUS,)
