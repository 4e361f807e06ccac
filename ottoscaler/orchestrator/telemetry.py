"""What the orchestrator measures of itself, for Prometheus. Each metric is named and explained once, here.

Names are in base units; `docs/orchestrator-metrics.md` is made from this module.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LONG = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)


class Telemetry:
    """All metrics of one process, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        self.events = Counter(
            "otto_events", "Events of the stream, by type and outcome.", ("type", "outcome"), registry=r
        )
        self.event_latency = Histogram(
            "otto_event_to_created_seconds",
            "From XADD, by the entry's id, to all pods of a scale_up created.",
            buckets=(*_FAST, 30.0, 60.0, 300.0),
            registry=r,
        )
        self.events_in_flight = Gauge(
            "otto_events_in_flight", "Events taken and not yet acknowledged.", registry=r
        )
        self.events_claimed = Counter(
            "otto_events_claimed", "Events taken over from a consumer that had gone silent.", registry=r
        )
        self.redis_reads = Counter(
            "otto_redis_reads", "XREADGROUP calls, by outcome.", ("outcome",), registry=r
        )
        self.redis_up = Gauge("otto_redis_up", "Whether the newest call to Redis worked.", registry=r)
        self.kube_requests = Histogram(
            "otto_kubernetes_request_seconds",
            "Calls to the Kubernetes API, by verb and outcome.",
            ("verb", "outcome"),
            buckets=_FAST,
            registry=r,
        )
        self.creation = Histogram(
            "otto_pod_creation_seconds", "The call that creates a worker pod.", buckets=_FAST, registry=r
        )
        self.refusals = Counter(
            "otto_pod_creations_refused",
            "Creations that the API refused: by a ResourceQuota, for now, or for good.",
            ("trouble",),
            registry=r,
        )
        self.start = Histogram(
            "otto_pod_start_seconds",
            "From a worker's admission to its container's start.",
            buckets=_SLOW,
            registry=r,
        )
        self.ended = Counter(
            "otto_workers_ended", "Workers that ended, by outcome.", ("outcome",), registry=r
        )
        self.removed = Counter("otto_workers_removed", "Ended workers that were cleaned up.", registry=r)
        self.quota_wait = Histogram(
            "otto_quota_wait_seconds", "How long a worker waited for the quota.", buckets=_LONG, registry=r
        )
        self.pipelines = Histogram(
            "otto_pipeline_seconds",
            "Pipelines from start to end, by outcome.",
            ("outcome",),
            buckets=_LONG,
            registry=r,
        )
        self.stages = Histogram(
            "otto_stage_seconds",
            "Stages from start to end, by outcome.",
            ("outcome",),
            buckets=_LONG,
            registry=r,
        )
        self.log_lines = Counter(
            "otto_log_lines",
            "Log lines of workers: forwarded, dropped (buffer, handler, size, lost).",
            ("outcome",),
            registry=r,
        )
        self.log_streams = Gauge("otto_log_streams", "Worker logs that are being followed.", registry=r)
        self.log_buffered = Gauge(
            "otto_log_buffered_bytes", "Log lines that wait for the handler.", registry=r
        )
        self.notifications = Counter(
            "otto_notifications", "Status changes told to the handler, by outcome.", ("outcome",), registry=r
        )
        self.handler_up = Gauge(
            "otto_handler_up", "Whether the newest call to the handler worked.", registry=r
        )
        self.leader = Gauge("otto_leader", "Whether this replica holds the Lease.", registry=r)
        self.leader_changes = Counter(
            "otto_leader_changes",
            "Times that this replica gained or lost the Lease.",
            ("change",),
            registry=r,
        )
        self.grpc = Histogram(
            "otto_grpc_request_seconds",
            "Calls of the gRPC services, by method and status code.",
            ("method", "code"),
            buckets=_FAST,
            registry=r,
        )

    def pod_created(self, seconds: float) -> None:
        self.creation.observe(seconds)

    def creation_refused(self, trouble: str) -> None:
        self.refusals.labels(trouble).inc()

    @contextmanager
    def kube_call(self, verb: str) -> Iterator[list[str]]:
        """Times a call; put another outcome than `ok` into the list."""
        outcome = ["ok"]
        started = perf_counter()
        try:
            yield outcome
        finally:
            self.kube_requests.labels(verb, outcome[-1]).observe(perf_counter() - started)
