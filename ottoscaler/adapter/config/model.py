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

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ottoscaler.adapter.sources.base import Backend, Queue
from ottoscaler.adapter.values import Duration, format_duration

DEFAULT_INTERVAL = 5.0
"""Seconds between two measurements, for a backend that has no `default_interval` of its own."""
RESERVED_LABELS = frozenset({"queue", "kind", "fallback"})
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

_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(
    r"(?:(?=.{1,253}/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        max_length=63,
        description="A Kubernetes label value, since people select by it.",
    ),
]
Address = Annotated[
    str,
    Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]*):[0-9]{1,5}$", description="host:port, or [IPv6]:port."),
]


class _Block(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What all blocks of the file have in common."""


class Http(_Block, frozen=True):
    """Plain HTTP for people, Prometheus and probes."""

    address: Address = "0.0.0.0:8080"

    def __post_init__(self) -> None:
        split_address(self.address)


class Log(_Block, frozen=True):
    """The process's log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Api(_Block, frozen=True):
    """The external-metrics API."""

    address: Address = "0.0.0.0:6443"
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        split_address(self.address)
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: give both or none")


class Fallback(_Block, frozen=True):
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


class QueueOptions(_Block, frozen=True):
    """The keys of a queue that do not depend on its backend."""

    name: Name
    labels: dict[str, str] = {}
    namespaces: tuple[str, ...] | None = None
    interval: Duration | None = None
    timeout: Duration = Duration(10)
    max_age: Duration = Duration(300)
    stalled_after: Duration | None = None
    fallback: Fallback | None = None

    def __post_init__(self) -> None:
        _check_one_line(self.name)
        _check_labels(self.labels)
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
                f"maxAge {format_duration(self.max_age)} must be longer than interval "
                f"{format_duration(self.interval)}, or every reading is too old before the next"
            )
        if self.fallback is not None and self.fallback.after < self.max_age:
            raise ValueError(
                f"fallback.after {format_duration(self.fallback.after)} is shorter than maxAge "
                f"{format_duration(self.max_age)}: it would replace readings that are still good"
            )


class Part(_Block, frozen=True):
    """A queue's share in a derived metric."""

    queue: Name
    metric: QueueMetric = "queue_demand"
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    """The count is multiplied by this: 0.25 where one pod takes four jobs of this queue."""


class DerivedMetric(_Block, frozen=True):
    """One metric over several queues, computed when read; too old when any part is."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
    of: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=1000)]
    combine: Literal["sum", "max"] = "sum"
    labels: dict[str, str] = {}
    namespaces: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_one_line(self.name)
        if self.name in QUEUE_METRICS:
            raise ValueError(f"name {self.name} is a metric of every queue: choose another")
        _check_labels(self.labels)
        check_namespaces(self.namespaces)


class Root(_Block, frozen=True):
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
    """Seconds; the backend's default where the file says nothing."""

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


def split_address(address: str) -> tuple[str, int]:
    """Host (empty: all interfaces) and port of `host:port` or `[IPv6]:port`. Raises `ValueError`."""
    host, _, port = address.rpartition(":")
    if not port.strip().isdecimal() or int(port) > 65535:
        raise ValueError(f"address {address[:80]!r} has no port between 0 and 65535")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_one_line(name: str) -> None:
    if "\n" in name:  # a pattern's `$` lets a trailing one pass
        raise ValueError("name contains a line break")


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if key in RESERVED_LABELS:
            raise ValueError(f"labels.{key} is set by the adapter: choose another key")
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(f"labels: {key[:80]!r} is no Kubernetes label key")
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"labels.{key}: {value[:80]!r} is no Kubernetes label value")


def check_namespaces(namespaces: tuple[str, ...] | None) -> None:
    """Raises `ValueError` when the list cannot be meant."""
    if namespaces is None:
        return
    if not namespaces:
        raise ValueError("namespaces is empty: nobody could see the queue; leave it out to show it to all")
    for name in namespaces:
        if not _NAMESPACE.fullmatch(name):
            raise ValueError(f"namespaces: {name[:80]!r} is no name of a namespace")
