"""The configuration file as types.

```yaml
grpc: {address: "0.0.0.0:9090"}
workers:
  namespace: ci
  image: registry.example.com/otto-agent:3
  retain: 10m
  template: {spec: {serviceAccountName: agent}}
quota: {perTask: 20, total: 200}
events:
  redis: {url: redis://redis:6379/0}
  stream: otto:scale:events
  group: ottoscaler
handler: {address: otto-handler:8080}
```
"""

import re
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ottoscaler.runtime.config import Address, Block, Log, split_address
from ottoscaler.runtime.redis import RedisConnection
from ottoscaler.runtime.values import Duration, format_duration

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:m|k|Ki|M|Mi|G|Gi|T|Ti)?")

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


def check_duration(name: str, value: float, *, least: float) -> None:
    """Raises `ValueError` when `value`, seconds, is shorter than `least`."""
    if value < least:
        raise ValueError(f"{name} is shorter than {format_duration(least)}")


def _check_template(template: Any) -> None:
    """The outermost shape; what is inside is judged by the API server, strictly, at every creation."""
    unknown = set(template) - {"metadata", "spec"}
    if unknown:
        raise ValueError(f"template has {min(unknown)!r}: a PodTemplateSpec has metadata and spec")
    for key, value in template.items():
        _check_shape(value, dict, f"template.{key} must be a mapping")
    containers = (template.get("spec") or {}).get("containers", [])
    _check_mappings(containers, "template.spec.containers")
    names = [each.get("name") for each in containers]
    if containers and "worker" not in names:
        raise ValueError("template.spec.containers has none named worker: that is where the work is done")
    for each in containers:
        where = f"template: container {each.get('name')!r}"
        _check_mappings(each.get("env", []), f"{where}: env")
        resources = each.get("resources", {})
        _check_shape(resources, dict, f"{where}: resources must be a mapping")
        for key in ("limits", "requests"):
            _check_shape(resources.get(key, {}), dict, f"{where}: resources.{key} must be a mapping")


def _check_mappings(value: Any, what: str) -> None:
    _check_shape(value, list, f"{what} must be a list of mappings")
    for each in value:
        _check_shape(each, dict, f"{what} must be a list of mappings")


def _check_shape(value: Any, kind: type, message: str) -> None:
    if not isinstance(value, kind):
        raise ValueError(message)  # noqa: TRY004 - the decoder shows ValueErrors to people


class Certificates(Block, frozen=True):
    """A server's certificate and, for mutual TLS, the CA of its clients. Read again when they change."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    """When given, clients must present a certificate of this CA."""


class Grpc(Block, frozen=True):
    """The worker-orchestration API."""

    address: Address = "0.0.0.0:9090"
    tls: Certificates | None = None
    max_message_bytes: Annotated[int, Meta(ge=1024, le=64 * 1024 * 1024)] = 4 * 1024 * 1024
    max_concurrent_calls: Positive = 1000
    keepalive: Duration = Duration(30)
    """A connection that is silent for so long is asked whether it lives."""

    def __post_init__(self) -> None:
        split_address(self.address)
        check_duration("keepalive", self.keepalive, least=1)


class Http(Block, frozen=True):
    """Plain HTTP for people, Prometheus and probes."""

    address: Address = "0.0.0.0:8081"

    def __post_init__(self) -> None:
        split_address(self.address)


class Resources(Block, frozen=True):
    """What a worker may use. Requests equal the limits unless they are given."""

    cpu_limit: str = "500m"
    memory_limit: str = "128Mi"
    cpu_request: str | None = None
    memory_request: str | None = None

    def __post_init__(self) -> None:
        for name in ("cpu_limit", "memory_limit", "cpu_request", "memory_request"):
            value = getattr(self, name)
            if value is not None and not _QUANTITY.fullmatch(value):
                key = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
                raise ValueError(f"{key} is {value[:40]!r}: write a quantity such as 500m or 128Mi")


class Workers(Block, frozen=True):
    """The pods that do the work, and how long they are kept."""

    namespace: str = "default"
    image: Annotated[str, Meta(min_length=1, max_length=1024)] = "busybox:latest"
    resources: Resources = Resources()
    active_deadline: Duration = Duration(6 * 3600)
    """A worker that runs for longer is ended by Kubernetes."""
    retain: Duration = Duration(600)
    """A failed worker is kept for so long, for people to look at."""
    max_per_request: Positive = 1000
    """More than this in one order is taken for a mistake."""
    template: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it
    """A PodTemplateSpec that every worker is made from."""

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace is {self.namespace[:80]!r}: that is no name of a namespace")
        check_duration("activeDeadline", self.active_deadline, least=1)
        _check_template(self.template)


class Quota(Block, frozen=True):
    """How many workers may run at once; what is over it waits."""

    per_task: Positive | None = None
    total: Positive | None = None


class Events(Block, frozen=True):
    """The Redis stream of scaling events."""

    redis: RedisConnection = RedisConnection(url="redis://localhost:6379/0")
    stream: Annotated[str, Meta(min_length=1, max_length=512)] = "otto:scale:events"
    group: Annotated[str, Meta(min_length=1, max_length=512)] = "ottoscaler"
    claim_idle: Duration = Duration(15)
    """An event that its reader has not touched for so long is taken over by the leader."""
    attempts: Positive = 5
    """Creations that the API refuses for good, before the event goes to the dead letters."""
    quota_patience: Duration = Duration(3600)
    """How long an event waits for a ResourceQuota."""
    in_flight: Positive = 1000

    def __post_init__(self) -> None:
        check_duration("claimIdle", self.claim_idle, least=1)


class HandlerTls(Block, frozen=True):
    """How the handler is known, and for mutual TLS how we are."""

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: give both or none")


class Handler(Block, frozen=True):
    """Where logs and status changes are sent."""

    address: Annotated[str, Meta(min_length=1, max_length=512)] = "otto-handler:8080"
    tls: HandlerTls | None = None
    handover: Duration = Duration(15)
    """An ended worker's log is read at the handler's pace for so long, then at ours, dropping what does not
    fit; its removal waits at most so long again for the handler to take the rest and its end."""


class Logs(Block, frozen=True):
    """Workers' logs on their way to the handler."""

    follow: bool = True
    buffer_lines: Positive = 2000
    """Of each worker."""
    buffer_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 512 * 1024
    total_bytes: Annotated[int, Meta(ge=64 * 1024, le=1 << 34)] = 64 * 1024 * 1024
    """Of all workers together."""
    pressure: Duration = Duration(30)
    """A full buffer waits for the handler for so long before its oldest lines are dropped."""
    line_limit: Annotated[int, Meta(ge=256, le=1 << 20)] = 64 * 1024
    streams: Positive = 80
    """To the handler, at once; workers take turns. Servers commonly allow 100 on a connection."""
    push_rate: Positive = 500
    """Entries a second from a worker that pushes its log itself."""
    push_sessions: Positive = 2000


class Lease(Block, frozen=True):
    """Which replica does what must be done once."""

    name: Annotated[str, Meta(min_length=1, max_length=253)] = "ottoscaler-orchestrator"
    duration: Duration = Duration(15)

    def __post_init__(self) -> None:
        check_duration("duration", self.duration, least=3)


class Pipelines(Block, frozen=True):
    """Runs of pipelines."""

    keep: Duration = Duration(3600)
    """The record of a run that has ended is kept for so long."""
    max_stages: Annotated[int, Meta(ge=1, le=500)] = 100


class Root(Block, frozen=True):
    """The whole file."""

    grpc: Grpc = Grpc()
    http: Http = Http()
    workers: Workers = Workers()
    quota: Quota = Quota()
    events: Events | None = Events()
    handler: Handler | None = Handler()
    logs: Logs = Logs()
    lease: Lease = Lease()
    pipelines: Pipelines = Pipelines()
    log: Log = Log()
    mock: bool = False
    """Serve the API over simulated workers, without a cluster."""
    grace: Duration = Duration(10)
    """After SIGTERM, calls in progress and buffered logs have so long."""
