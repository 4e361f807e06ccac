"""From a request's method and target to what is asked for, and who must be allowed to ask it."""

from collections.abc import Mapping
from typing import NamedTuple

from ottoscaler.apiservice import discovery, openapi, status
from ottoscaler.apiservice.endpoints import (
    Check,
    DocumentEndpoint,
    Endpoint,
    HealthEndpoint,
    Inventory,
    MetricEndpoint,
)
from ottoscaler.apiservice.identity import Attributes
from ottoscaler.apiservice.provider import MetricsProvider
from ottoscaler.apiservice.request_info import NO_QUERY, Target, TargetError, attributes, parse_target

_VERBS = frozenset(["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"])
_METHODS = frozenset(["get", "head", "post", "put", "patch", "delete", "options"])


class Route(NamedTuple):
    """A request understood."""

    attributes: Attributes
    target: Target
    endpoint: Endpoint
    kind: str
    """The endpoint's kind, for metrics."""
    public: bool = False
    """Whether anybody may ask."""

    @property
    def verb(self) -> str:
        """The verb, for metrics: one of a fixed few."""
        verb = self.attributes.verb
        return verb if verb in _VERBS or verb in _METHODS else "other"


class Router:
    """The paths of the server."""

    def __init__(
        self, provider: MetricsProvider, *, readiness: Mapping[str, Check], liveness: Mapping[str, Check]
    ) -> None:
        self._provider = provider
        inventory = Inventory(provider)
        self._public: dict[str, Endpoint] = {
            "/healthz": HealthEndpoint("healthz", liveness),
            "/livez": HealthEndpoint("livez", liveness),
            "/readyz": HealthEndpoint("readyz", readiness),
        }
        self._paths: dict[str, tuple[str, Endpoint]] = {
            "/apis": ("discovery", inventory.groups),
            f"/apis/{discovery.GROUP}": ("discovery", DocumentEndpoint(discovery.GROUP_DOCUMENT)),
            f"/apis/{discovery.GROUP_VERSION}": ("discovery", inventory.resources),
            "/openapi/v2": ("openapi", inventory.openapi),
            "/openapi/v3": ("openapi", inventory.openapi),
            openapi.V3_PATH: ("openapi", inventory.openapi),
            "/version": ("version", DocumentEndpoint(discovery.RELEASE)),
        }
        index = discovery.root(sorted((*self._public, *self._paths)))
        self._paths[""] = ("index", DocumentEndpoint(index))

    def route(self, method: str, raw: str) -> Route:
        """What the request asks for; refusals are endpoints, too, to be reached only by those who may ask."""
        try:
            target = parse_target(raw)
            wanted = attributes(method, target)
        except TargetError as error:
            nowhere = Target("", NO_QUERY)
            refusal = DocumentEndpoint(status.bad_request(str(error)))
            return Route(Attributes(verb="", path=""), nowhere, refusal, "malformed", public=True)
        path = target.path.removesuffix("/")
        if (health := self._public.get(path)) is not None:
            endpoint = health if method in ("GET", "HEAD") else _NOT_ALLOWED
            return Route(wanted, target, endpoint, "health", public=True)
        kind, endpoint = self._find(path, wanted, target)
        if method != "GET" and endpoint is not _NOT_FOUND:
            endpoint = _NOT_ALLOWED
        return Route(wanted, target, endpoint, kind)

    def _find(self, path: str, wanted: Attributes, target: Target) -> tuple[str, Endpoint]:
        if found := self._paths.get(path):
            kind, endpoint = found
            return kind, endpoint if target.query_error is None else _bad_request(target.query_error)
        name = wanted.resource
        if name is None or path != f"/apis/{discovery.GROUP_VERSION}/namespaces/{wanted.namespace}/{name}":
            return "unknown", _NOT_FOUND
        return "metric", self._metric(name, wanted, target)

    def _metric(self, name: str, wanted: Attributes, target: Target) -> Endpoint:
        if wanted.verb == "watch":
            return _NO_WATCH
        if target.query_error is not None:
            return _bad_request(target.query_error)
        texts = target.query.get("labelSelector", ())
        if len(texts) > 1:
            return _bad_request("labelSelector is given more than once")
        return MetricEndpoint(self._provider, wanted.namespace, name, texts[0] if texts else "")


def _bad_request(message: str) -> Endpoint:
    return DocumentEndpoint(status.bad_request(message))


_NOT_FOUND = DocumentEndpoint(status.NOT_FOUND)
_NOT_ALLOWED = DocumentEndpoint(status.METHOD_NOT_ALLOWED)
_NO_WATCH = DocumentEndpoint(status.watch_not_supported(discovery.GROUP))
