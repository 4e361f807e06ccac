"""Plain HTTP: Prometheus, probes, and what the orchestrator is doing.

Readiness says that calls can be answered here. It does not look at Redis or the handler: a pod that is
taken out for one of them would take the other work with it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ottoscaler.orchestrator.worker import Worker
from ottoscaler.runtime.http import Pages, json_response, live, prometheus, ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The replica at one moment. None: there is no such part."""

    identity: str
    leading: bool
    leader: str
    leaving: bool
    synced: bool
    workers: tuple[Worker, ...]
    events: int | None
    redis: bool | None
    handler: bool | None
    runs: int


def pages(address: str, status: Callable[[], Status], registry: CollectorRegistry) -> Pages:
    """The server, not yet started. Raises `ValueError` for an address that is none."""
    registry.register(WorkerCollector(status))

    async def show(request: web.BaseRequest) -> web.Response:
        return json_response(_describe(status()))

    return Pages(
        address,
        {
            "/healthz": live,
            "/livez": live,
            "/readyz": ready(lambda: _not_ready(status())),
            "/metrics": prometheus(registry),
            "/status": show,
        },
    )


def _not_ready(status: Status) -> str | None:
    if status.leaving:
        return "going away"
    return None if status.synced else "the workers have not been listed yet"


def states(workers: tuple[Worker, ...]) -> Counter[str]:
    """Workers by what they are doing: waiting (for the quota), pending, running, succeeded, failed, removing."""
    counts: Counter[str] = Counter(
        {"waiting": 0, "pending": 0, "running": 0, "succeeded": 0, "failed": 0, "removing": 0}
    )
    for worker in workers:
        if worker.deleting_at is not None:
            counts["removing"] += 1
        elif worker.gated:
            counts["waiting"] += 1
        else:
            counts[worker.phase.lower()] += 1
    return counts


class WorkerCollector(Collector):
    """Workers by state, counted when asked."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> list[GaugeMetricFamily]:
        """Nothing until the workers have been listed: unknown is not zero."""
        family = GaugeMetricFamily("otto_workers", "Workers that exist, by state.", labels=["state"])
        status = self._status()
        if status.synced:
            for state, count in states(status.workers).items():
                family.add_metric([state], count)
        return [family]

    def describe(self) -> list[GaugeMetricFamily]:
        return [GaugeMetricFamily("otto_workers", "Workers that exist, by state.", labels=["state"])]


def _describe(status: Status) -> dict[str, object]:
    return {
        "identity": status.identity,
        "leader": status.leader or None,
        "leading": status.leading,
        "workers": dict(states(status.workers)) if status.synced else None,
        "eventsInFlight": status.events,
        "redisAnswers": status.redis,
        "handlerAnswers": status.handler,
        "runningPipelines": status.runs,
    }
