"""One measurement of a collection: the queries of its plan, all as of one moment, and what they add up to.

The first query is answered as of now, and only for the time that it was answered as of; all that is added up
is asked as of that time. So the counts belong together, whatever is written meanwhile, and their differences
are never negative.

Every call is bounded by a deadline and is never retried by the library, whose own limit is 300 s.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore import AsyncClient

from ottoscaler.adapter.reading import Held, Reading
from ottoscaler.adapter.sources.base import Queue, SourceError
from ottoscaler.adapter.sources.firebase_jobs import STALLED_AFTER, Job, State, classify
from ottoscaler.adapter.sources.firestore_errors import refused
from ottoscaler.adapter.sources.firestore_plan import Plan, Query, everything, plan
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings
from ottoscaler.runtime.clock import Clock

_ENTRIES_PER_READ = 1000
"""Index entries that a count may look at for the price of one document."""

_NONSENSE = (AttributeError, IndexError, TypeError, ValueError)
"""gRPC hands on None for bytes that are no message, and the library stumbles over it."""


class _Jobs(NamedTuple):
    """What a measurement found."""

    waiting: int
    failed: int
    other: int
    held: dict[str, Job]
    """Documents with a holder, of state *held* or *other*."""
    oldest_waiting_at: float | None


class CollectionReader:
    """Measures one queue. `spend` is told of each document that was paid for."""

    def __init__(
        self,
        client: AsyncClient,
        queue: Queue[FirestoreSettings],
        clock: Clock,
        spend: Callable[[float], None],
    ) -> None:
        self._client = client
        self._settings = queue.settings
        self._clock = clock
        self._spend = spend
        collection = client.collection(*queue.settings.collection.split("/"))
        self._plan: Plan = plan(collection, queue.settings)
        self._everything: Query = everything(collection)

    async def measure(self, queue: Queue[FirestoreSettings]) -> Reading:
        """One measurement, within the queue's `timeout`, dated by its beginning. Raises `SourceError`."""
        started, began = self._clock.time(), self._clock.monotonic()
        try:
            async with asyncio.timeout(queue.timeout):
                if self._settings.read == "documents":
                    jobs = _judge(await self._documents(self._everything, queue.timeout, as_of=None))
                else:
                    jobs = await self._count_all(queue.timeout)
        except TimeoutError:
            raise SourceError("Firestore does not answer in time", code="unreachable") from None
        heartbeats = (job.heartbeat for job in jobs.held.values() if job.state is State.HELD)
        return Reading(
            queue=queue.name,
            measured_at=started,
            waiting=jobs.waiting,
            failed=jobs.failed,
            other=jobs.other,
            heartbeats=tuple(sorted(heartbeats)),
            heartbeat_timeout=STALLED_AFTER if queue.stalled_after is None else queue.stalled_after,
            oldest_waiting_at=jobs.oldest_waiting_at,
            held=tuple(
                Held(job=key, holder=job.holder) for key, job in jobs.held.items() if job.holder is not None
            ),
            took=self._clock.monotonic() - began,
        )

    async def _count_all(self, timeout: float) -> _Jobs:
        _, as_of = await self._count(self._plan.moment, timeout, as_of=None)
        numbers, held = await self._ask_all(timeout, as_of)
        waiting = sum(sign * numbers[query] for sign, query in self._plan.waiting)
        every, failed = numbers[self._plan.every], numbers[self._plan.failed]
        seen = {key: job for key, job in held.items() if job.holder is not None}
        other = every - failed - waiting - sum(job.state is State.HELD for job in seen.values())
        if waiting < 0 or other < 0:
            raise SourceError(
                "its counts contradict one another: check `waiting` against what the writers store",
                detail=f"all {every}, failed {failed}, waiting {waiting}, other {other}",
                code="invalid",
            )
        oldest = await self._oldest(timeout, as_of) if waiting else None
        return _Jobs(waiting, failed, other, seen, oldest)

    async def _ask_all(self, timeout: float, as_of: datetime) -> tuple[dict[Query, int], dict[str, Job]]:
        """Every count, and the jobs in work."""
        queries = self._plan.counts
        try:
            async with asyncio.TaskGroup() as tasks:
                counts = [tasks.create_task(self._count(query, timeout, as_of=as_of)) for query in queries]
                held = tasks.create_task(self._documents(self._plan.held, timeout, as_of=as_of))
        except* SourceError as group:
            failure = _first(group)
        else:
            return {
                query: task.result()[0] for query, task in zip(queries, counts, strict=True)
            }, held.result()
        raise failure  # only here: before Python 3.11.4 what `except*` raises becomes a group

    async def _oldest(self, timeout: float, as_of: datetime) -> float | None:
        if self._plan.oldest is None:
            return None
        documents = await self._documents(self._plan.oldest, timeout, as_of=as_of)
        waiting = (job.created_at for job in documents.values() if job.state is State.WAITING)
        return min((created for created in waiting if created is not None), default=None)

    async def _count(self, query: Query, timeout: float, *, as_of: datetime | None) -> tuple[int, datetime]:
        """A count, and the moment as of which it is true."""
        try:
            answer: Any = await query.query.count(alias="n").get(timeout=timeout, retry=None, read_time=as_of)
            result = answer[0][0]
            number, moment = int(result.value), result.read_time
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise self._refused(error, query) from error
        except _NONSENSE:
            raise SourceError("Firestore's answer makes no sense", code="invalid") from None
        if number < 0 or moment is None:
            raise SourceError("Firestore's answer makes no sense", code="invalid")
        self._spend(max(1, -(-number // _ENTRIES_PER_READ)))
        return number, moment

    async def _documents(self, query: Query, timeout: float, *, as_of: datetime | None) -> dict[str, Job]:
        """The documents that a query finds, classified, by ID."""
        documents: dict[str, Job] = {}
        try:
            async for snapshot in query.query.stream(timeout=timeout, retry=None, read_time=as_of):
                documents[snapshot.id] = classify(snapshot.to_dict())
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise self._refused(error, query) from error
        except _NONSENSE:
            raise SourceError("Firestore's answer makes no sense", code="invalid") from None
        finally:
            self._spend(max(1, len(documents)))
        return documents

    def _refused(self, error: Exception, query: Query) -> SourceError:
        code = getattr(error, "grpc_status_code", None)
        status = "UNAUTHENTICATED" if code is None else str(code.name)
        return refused(status, str(error), settings=self._settings, indexes=query.indexes)


def _judge(documents: dict[str, Job]) -> _Jobs:
    """All documents of a collection, counted."""
    states = [job.state for job in documents.values()]
    created = (job.created_at for job in documents.values() if job.state is State.WAITING)
    return _Jobs(
        waiting=states.count(State.WAITING),
        failed=states.count(State.FAILED),
        other=states.count(State.OTHER),
        held={key: job for key, job in documents.items() if job.holder is not None},
        oldest_waiting_at=min((moment for moment in created if moment is not None), default=None),
    )


def _first(group: BaseExceptionGroup[SourceError]) -> SourceError:
    """One of the failures; the one that people can act on, where there is a choice."""
    errors = [error for error in group.exceptions if isinstance(error, SourceError)]
    return min(errors, key=lambda error: error.code == "unreachable")
