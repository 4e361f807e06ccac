"""Queues that a Prometheus server counts: each is one instant query or a few, asked once an interval.

A source is one server with one credential. Each queue has a task of its own, so a slow query delays no
other. All queries of a measurement are evaluated at the same moment. The time that Prometheus puts on an
answer is that of the evaluation, which hides samples of up to five minutes ago (the lookback); so the time
of the samples themselves is asked as well, and the oldest of them dates the reading.
"""

import asyncio
import math
import random
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import aiohttp
import msgspec

from ottoscaler.adapter.reading import ReadFailure, Reading, from_the_future
from ottoscaler.adapter.sources.base import (
    JobState,
    Publish,
    Queue,
    SeriesRule,
    Source,
    SourceContext,
    SourceError,
    while_configured,
)
from ottoscaler.adapter.sources.prometheus_answer import Samples
from ottoscaler.adapter.sources.prometheus_client import Access, AccessFiles, PrometheusClient
from ottoscaler.adapter.sources.prometheus_series import reading_of
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.tasks import Backoff, isolated

_SPREAD = 0.1
"""Share of an interval by which measurements are spread, so that many queues are not asked in step."""
_MOST_ROUNDS = 8
"""Of asking again; what was begun before the first is stored long before the last."""
_CONNECTIONS = 20
"""As many queries as Prometheus evaluates at a time (`--query.max-concurrency`)."""


class PrometheusSource:
    """Reads all queues of one server."""

    def __init__(self, settings: PrometheusSettings, context: SourceContext) -> None:
        self._settings = settings
        self._clock = context.clock
        self._queues: Mapping[str, Queue[PrometheusSettings]] = {}
        self._changed = asyncio.Event()

    def set_queues(self, queues: Sequence[Queue[Any]]) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._changed.set()

    async def run(self, publish: Publish) -> None:
        """Keeps one task a queue running, until cancelled."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        async with (
            aiohttp.ClientSession(
                connector=connector, trust_env=True, timeout=aiohttp.ClientTimeout(total=None)
            ) as session,
            asyncio.TaskGroup() as tasks,
        ):
            measurement = Measurement(
                PrometheusClient(session, self._settings, self._clock),
                AccessFiles(self._settings),
                self._clock,
            )
            running: dict[str, tuple[Queue[PrometheusSettings], asyncio.Task[None]]] = {}
            while True:
                self._changed.clear()
                for name in [name for name in running if self._queues.get(name) != running[name][0]]:
                    running.pop(name)[1].cancel()
                for name, queue in self._queues.items():
                    if name not in running:
                        running[name] = queue, tasks.create_task(self._poll(measurement, queue, publish))
                await self._changed.wait()

    async def _poll(
        self, measurement: "Measurement", queue: Queue[PrometheusSettings], publish: Publish
    ) -> None:
        """Until cancelled. A failure is tried again after a backoff, where that is sooner."""
        publish = while_configured(publish, queue, lambda name: self._queues.get(name))
        clock, backoff = self._clock, Backoff(initial=0.5, maximum=30.0)
        spread = random.Random()  # noqa: S311 - spreads requests, keeps no secret
        while True:
            began = clock.monotonic()
            try:
                publish(await isolated(measurement.of(queue)))
                backoff.reset()
                wait = queue.interval
            except SourceError as error:
                publish(
                    ReadFailure(
                        queue=queue.name,
                        at=clock.time(),
                        reason=str(error),
                        detail=error.detail,
                        code=error.code,
                    )
                )
                wait = min(queue.interval, backoff.next())
            await clock.sleep(max(0.0, began + wait * spread.uniform(1 - _SPREAD, 1.0) - clock.monotonic()))


class Measurement:
    """Asks what a queue's settings say, and makes one reading of the answers."""

    def __init__(self, client: PrometheusClient, files: AccessFiles, clock: Clock) -> None:
        self._client = client
        self._files = files
        self._clock = clock

    async def of(self, queue: Queue[PrometheusSettings]) -> Reading:
        """One measurement, within the queue's `timeout`. Raises `SourceError`."""
        began = self._clock.monotonic()
        at = math.floor(self._clock.time() * 1000) / 1000  # the milliseconds of Prometheus, never ahead of us
        try:
            async with asyncio.timeout(queue.timeout):
                access = await asyncio.to_thread(self._files.read)
                return await self._reading(queue, at, access, began)
        except TimeoutError:
            raise SourceError("Prometheus does not answer in time", code="unreachable") from None

    async def _reading(
        self, queue: Queue[PrometheusSettings], at: float, access: Access, began: float
    ) -> Reading:
        settings = queue.settings
        asked = {
            "waiting": settings.waiting,
            "processing": settings.processing,
            "oldestWaitingSeconds": settings.oldest_waiting_seconds,
            "timestamp": settings.timestamp,
        }
        queries = {what: query for what, query in asked.items() if query}
        found, times = await self._at_one_moment(queries, settings, at, access)
        return msgspec.structs.replace(
            reading_of(queue.name, found, settings, at),
            measured_at=_dated(at, times),
            took=self._clock.monotonic() - began,
        )

    async def _at_one_moment(
        self, queries: Mapping[str, str], settings: PrometheusSettings, at: float, access: Access
    ) -> tuple[dict[str, Samples], list[float]]:
        """Answers that belong together, and the times of their samples.

        A scrape that began before `at` may be stored between two queries, which then speak of different
        samples. So all are asked again until nothing has changed meanwhile.
        """
        found = await self._samples(queries, settings, at, access)
        for _ in range(_MOST_ROUNDS):
            wanted = _time_queries(queries, found)
            stated = list(found["timestamp"].values) if "timestamp" in found else []
            if not wanted and len(queries) == 1:
                return found, stated
            times = await self._times(wanted, at, access)
            former, found = found, await self._samples(queries, settings, at, access)
            if all(samples.same_as(former[what]) for what, samples in found.items()):
                return found, [*stated, *times]
        raise SourceError("its samples change while they are asked for", code="invalid")

    async def _samples(
        self, queries: Mapping[str, str], settings: PrometheusSettings, at: float, access: Access
    ) -> dict[str, Samples]:
        found = await self._ask(queries, at, access, keep=settings.keep_labels)
        for what, samples in found.items():
            needless = what == "oldestWaitingSeconds" and not found["waiting"].jobs()
            if not samples.values and not needless and settings.missing == "error":
                raise SourceError(f"its {what} query finds no series", code="missing")
        return found

    async def _times(self, wanted: Mapping[str, str], at: float, access: Access) -> list[float]:
        """When the samples of each answer were taken, as far as Prometheus knows."""
        times: list[float] = []
        for what, samples in (await self._ask(wanted, at, access)).items():
            if not samples.values:
                raise SourceError(f"the series of its {what} query ended while it was asked", code="missing")
            times += samples.values
        return times

    async def _ask(
        self, queries: Mapping[str, str], at: float, access: Access, *, keep: Sequence[str] = ()
    ) -> dict[str, Samples]:
        """The answers by name. The first failure ends all."""
        moment = f"{at:.3f}"
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = {
                    what: tasks.create_task(
                        self._client.ask(query, at=moment, what=what, access=access, keep=keep)
                    )
                    for what, query in queries.items()
                }
        except* SourceError as errors:
            first = errors.exceptions[0]
        except* TimeoutError:
            first = SourceError("Prometheus does not answer in time", code="unreachable")
        else:
            return {what: task.result() for what, task in asking.items()}
        raise first


def _time_queries(queries: Mapping[str, str], found: Mapping[str, Samples]) -> dict[str, str]:
    """What asks for the times of the samples, where a query has some and the settings do not state them."""
    stated = {"timestamp"}
    if "timestamp" in found and found["timestamp"].values:
        stated.add("waiting")
    return {
        what: f"min(timestamp(\n{queries[what]}\n))"
        for what, samples in found.items()
        if what not in stated and samples.values and not samples.is_scalar
    }


def _dated(at: float, times: Sequence[float]) -> float:
    """The oldest time, also where another lies a little ahead of us. Raises `SourceError` where one lies further
    ahead than clocks may differ."""
    ahead = from_the_future(max(times, default=at), at)
    if ahead is not None:
        raise SourceError(ahead, code="invalid")
    return min([at, *times])


class PrometheusBackend:
    """The block `prometheus`."""

    block: ClassVar[str] = "prometheus"
    settings = PrometheusSettings
    default_interval: ClassVar[float] = 15.0
    """Seconds; how often Prometheus is usually told to scrape."""

    def kind(self, settings: PrometheusSettings) -> str:
        return "prometheus"

    def connection(self, settings: PrometheusSettings) -> Hashable:
        return settings.url.rstrip("/"), settings.bearer_token_file, settings.basic_auth, settings.tls

    def uncounted(self, settings: PrometheusSettings) -> frozenset[JobState]:
        """What there is no query for."""
        neither: frozenset[JobState] = frozenset({"stalled", "failed", "other"})
        return neither if settings.processing else neither | {"processing"}

    def series(self, settings: PrometheusSettings) -> SeriesRule | None:
        """Parts by the labels that are kept."""
        if not settings.keep_labels:
            return None
        return SeriesRule(labels=frozenset(settings.keep_labels), absent=settings.missing)

    def source(self, settings: PrometheusSettings, context: SourceContext) -> Source:
        return PrometheusSource(settings, context)


BACKEND = PrometheusBackend()
