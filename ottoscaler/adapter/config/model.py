"""The configuration file as types; its JSON schema is generated from them.

```yaml
api: {address: "0.0.0.0:6443"}
http: {address: "0.0.0.0:8080"}
queues:
  - name: generator
    firebase: {databaseURL: https://example.firebaseio.com, path: requestedJobs/eventstorming_generator}
    namespaces: [default]
  - name: scale-events
    redis: {url: redis://redis:6379/0, stream: otto:scale:events, group: ottoscaler}
```
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from ottoscaler.adapter.config.names import (
    METRIC_PATTERN,
    NAME_PATTERN,
    check_labels,
    check_metric,
    check_name,
    check_namespaces,
)
from ottoscaler.adapter.sources.base import Backend, JobState, Queue, SeriesRule
from ottoscaler.runtime.config import Address, Block, Log, split_address
from ottoscaler.runtime.values import Duration, format_duration

DEFAULT_INTERVAL = 5.0
"""Seconds between two measurements, for a backend that has no `default_interval` of its own."""
QUEUE_METRICS = (
    "queue_demand",
    "queue_failed",
    "queue_oldest_waiting_seconds",
    "queue_processing",
    "queue_stalled",
    "queue_waiting",
)
"""What is served of every queue, sorted."""
QueueMetric = Literal[
    "queue_demand",
    "queue_failed",
    "queue_oldest_waiting_seconds",
    "queue_processing",
    "queue_stalled",
    "queue_waiting",
]

_STATES: Final[Mapping[QueueMetric, JobState]] = {
    "queue_failed": "failed",
    "queue_processing": "processing",
    "queue_stalled": "stalled",
}

Name = Annotated[str, Meta(extra_json_schema={"pattern": NAME_PATTERN, "maxLength": 63})]
MetricName = Annotated[str, Meta(extra_json_schema={"pattern": METRIC_PATTERN, "maxLength": 63})]


class Http(Block, frozen=True):
    """Plain HTTP for people, Prometheus and probes."""

    address: Address = "0.0.0.0:8080"

    def __post_init__(self) -> None:
        split_address(self.address)


class CertificateFiles(Block, frozen=True):
    """A certificate that somebody else keeps; the files are read again when they change."""

    certificate: Path
    key: Path


class Certificate(Block, frozen=True):
    """Where the serving certificate comes from: given files, or the adapter's own CA, which it keeps in a
    Secret that all replicas share, or in a directory."""

    files: CertificateFiles | None = None
    secret: Name | None = None
    directory: Path | None = None

    def __post_init__(self) -> None:
        if sum(way is not None for way in (self.files, self.secret, self.directory)) != 1:
            raise ValueError("give one of files, secret and directory")


class Api(Block, frozen=True):
    """The external-metrics API."""

    address: Address = "0.0.0.0:6443"
    service: Name = "ottoscaler"
    """The Service in front, for the names in the adapter's own certificate."""
    certificate: Certificate = Certificate(secret="ottoscaler-certificate")  # noqa: S106 - a Secret's name

    def __post_init__(self) -> None:
        split_address(self.address)


class Fallback(Block, frozen=True):
    """What to serve when a queue has not been measured for `after`: an explicit choice, never a default."""

    after: Duration
    value: Annotated[int, Meta(ge=0, le=10**12, description="Jobs to pretend are waiting.")] | None = None
    replicas_hint: (
        Annotated[int, Meta(ge=0, le=10**6, description="Replicas that the HPA shall come to.")] | None
    ) = None
    jobs_per_pod: Annotated[
        int, Meta(ge=1, le=10**6, description="The HPA's averageValue, for replicasHint.")
    ] = 1

    def __post_init__(self) -> None:
        if (self.value is None) == (self.replicas_hint is None):
            raise ValueError("give either value or replicasHint")

    @property
    def jobs(self) -> int:
        """The jobs that are served as waiting."""
        return self.value if self.value is not None else (self.replicas_hint or 0) * self.jobs_per_pod


class QueueOptions(Block, frozen=True):
    """The keys of a queue that do not depend on its backend."""

    name: Name
    labels: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    namespaces: tuple[str, ...] | None = None
    interval: Duration | None = None
    timeout: Duration = Duration(10)
    max_age: Duration = Duration(300)
    stalled_after: Duration | None = None
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_labels(self.labels)
        check_namespaces(self.namespaces)
        self._check_times()

    def _check_times(self) -> None:
        if self.interval is not None and self.interval < 0.1:
            raise ValueError("interval is shorter than 100ms")
        if self.timeout < 0.05:
            raise ValueError("timeout is shorter than 50ms")
        if self.max_age < 1:
            raise ValueError("maxAge is shorter than 1s")
        if self.stalled_after is not None and self.stalled_after < 1:
            raise ValueError("stalledAfter is shorter than 1s")
        if self.interval is not None and self.max_age <= self.interval:
            raise ValueError(
                f"interval {format_duration(self.interval)} is not shorter than maxAge "
                f"{format_duration(self.max_age)}: every reading would be too old before the next"
            )
        if self.fallback is not None and self.fallback.after < self.max_age:
            raise ValueError(
                f"fallback: after {format_duration(self.fallback.after)} is shorter than maxAge "
                f"{format_duration(self.max_age)}: it would replace readings that are still good"
            )


class Part(Block, frozen=True):
    """A queue's share in a derived metric."""

    queue: Name
    metric: QueueMetric = "queue_demand"
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    """The count is multiplied by this: 0.25 where one pod takes four jobs of this queue."""


class DerivedMetric(Block, frozen=True):
    """One metric over several queues, computed when read; too old when any part is."""

    name: MetricName
    of: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=1000)]
    combine: Literal["sum", "max"] = "sum"
    labels: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    namespaces: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_metric(self.name)
        if self.name in QUEUE_METRICS:
            raise ValueError(f"name {self.name} is a metric of every queue: choose another")
        check_labels(self.labels)
        check_namespaces(self.namespaces)


class Root(Block, frozen=True):
    """The file without its queues, which need to know their backends."""

    api: Api = Api()
    http: Http = Http()
    log: Log = Log()
    metrics: Annotated[tuple[DerivedMetric, ...], Meta(max_length=200)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """A queue with its backend."""

    options: QueueOptions
    block: str
    settings: Any
    """The backend's own struct."""
    kind: str
    interval: float
    """Seconds; the backend's default where the file says nothing, and no less than its minimum."""
    series: SeriesRule | None = None
    """How it is served in parts, where it is."""
    uncounted: frozenset[JobState] = frozenset()
    """The states of jobs that its backend does not count."""

    def lacks(self, metric: QueueMetric) -> JobState | None:
        """The state that `metric` counts and the backend does not; None when it is served. What is known of a
        demand is served: waiting jobs always are."""
        state = _STATES.get(metric)
        return state if state in self.uncounted else None

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def labels(self) -> Mapping[str, str]:
        """What a selector sees: queue, kind, and the static ones."""
        return {"queue": self.options.name, "kind": self.kind, **self.options.labels}

    def for_source(self) -> Queue[Any]:
        """What the source needs to know."""
        return Queue(
            name=self.options.name,
            settings=self.settings,
            interval=self.interval,
            timeout=float(self.options.timeout),
            stalled_after=None if self.options.stalled_after is None else float(self.options.stalled_after),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the adapter was told."""

    root: Root
    queues: tuple[QueueConfig, ...]
    backends: Mapping[str, Backend[Any]]
    """The backends in use, by block."""
    digest: str
    """SHA-256 of what it was read from, in hexadecimal."""
