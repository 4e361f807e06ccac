"""What each path answers, once it is known that the caller may ask.

An endpoint is a plain call from a request's headers to a `Response`: nothing here waits, and nothing asks
a backend. Documents that list metrics are built again only when the list has changed.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from ottoscaler.apiservice import discovery, openapi, status
from ottoscaler.apiservice.identity import Headers
from ottoscaler.apiservice.media_types import JSON, OFFERED, Choice, negotiate
from ottoscaler.apiservice.provider import MetricNotFound, MetricsProvider, MetricUnavailable
from ottoscaler.apiservice.request_info import NO_QUERY, Target
from ottoscaler.apiservice.response import GZIP_FROM, NO_STORE, Document, Response, text_response
from ottoscaler.apiservice.selector import Selector
from ottoscaler.apiservice.selector_grammar import SelectorError, parse_selector
from ottoscaler.apiservice.values import metric_values

_PLAIN = Choice(JSON)
_PRETTY_AGENTS = ("curl", "Wget", "Mozilla/5.0")

_LARGEST_KEPT = 16
"""Clauses and values of a selector that is remembered; an HPA's has two."""

Check = Callable[[], str | None]
"""What is wrong, in words that anybody may read; None when all is well."""


class Endpoint(Protocol):
    """Answers a GET."""

    def __call__(self, headers: Headers, target: Target, /) -> Response: ...


def represent(document: Document, headers: Headers, target: Target | None = None) -> Response:
    """`document` as the caller wants it; a failure is never hidden behind a 406."""
    choice = negotiate(headers.get("Accept", ""))
    if choice is None:
        if document.status < 400:
            document = status.not_acceptable(OFFERED)
        choice = _PLAIN
    return _squeeze(document.response(_for_eyes(choice, headers, target)), headers)


def _for_eyes(choice: Choice, headers: Headers, target: Target | None) -> Choice:
    """With white space where a person reads: `?pretty=1`, or a client that shows what it gets."""
    if choice.media_type != JSON or choice.pretty:
        return choice
    asked = target.query.get("pretty") if target is not None else None
    if asked and asked[0]:
        pretty = asked[0].lower() in ("1", "t", "true")
    else:
        pretty = headers.get("User-Agent", "").startswith(_PRETTY_AGENTS)
    return choice._replace(pretty=True) if pretty else choice


def _squeeze(response: Response, headers: Headers) -> Response:
    if len(response.body) < GZIP_FROM:
        return response
    accepts = negotiate_gzip(headers.get("Accept-Encoding", ""))
    return response.compressed() if accepts else response


def negotiate_gzip(accept_encoding: str) -> bool:
    """Whether the caller takes gzip (RFC 9110 section 12.5.3)."""
    for part in accept_encoding.split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class DocumentEndpoint:
    """The same document for everybody."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def __call__(self, headers: Headers, target: Target) -> Response:
        return represent(self._document, headers, target)


class MetricEndpoint:
    """The values of one metric that one selector chooses, seen from one namespace.

    The selector is read when the endpoint is first called, which only those who may ask do.
    """

    __slots__ = ("_name", "_namespace", "_provider", "_selector", "_text")

    def __init__(self, provider: MetricsProvider, namespace: str, name: str, text: str) -> None:
        self._provider = provider
        self._namespace = namespace
        self._name = name
        self._text = text
        self._selector: Selector | None = None

    def __call__(self, headers: Headers, target: Target) -> Response:
        if (selector := self._selector) is None:
            try:
                selector = self._selector = parse_selector(self._text)
            except SelectorError as error:
                return represent(status.bad_request(str(error)), headers, target)
            self._text = ""
        choice = negotiate(headers.get("Accept", ""))
        if choice is None:
            return represent(status.not_acceptable(OFFERED), headers)
        try:
            values = self._provider.read(self._namespace, self._name, selector)
        except MetricNotFound as error:
            return represent(status.metric_not_found(str(error)), headers, target)
        except MetricUnavailable as error:
            return represent(status.metric_unavailable(str(error)), headers, target)
        choice = _for_eyes(choice, headers, target)
        response = values.encoded.get(choice)
        if response is None:
            response = values.encoded[choice] = metric_values(values.items, choice)
        return _squeeze(response, headers)

    def kept(self, target: Target) -> Target | None:
        """What it takes of `target` to be answered again; None where there is too much to remember."""
        if self._selector is None or self._selector.size > _LARGEST_KEPT:
            return None
        pretty = target.query.get("pretty")
        return Target(target.path, {"pretty": pretty[:1]} if pretty else NO_QUERY)


class Inventory:
    """The endpoints that say which metrics there are."""

    def __init__(self, provider: MetricsProvider) -> None:
        self._provider = provider
        self._names: tuple[str, ...] | None = None
        self._resources = Document({})
        self._aggregated: Mapping[object, tuple[Document, str]] = {}
        self._openapi: Mapping[str, tuple[Response, str]] = {}

    def _renew(self) -> None:
        names = tuple(self._provider.list_metrics())
        if names == self._names:
            return
        self._resources = discovery.resource_list(names)
        self._aggregated = {form: discovery.aggregated(names, form) for form in discovery.AGGREGATED}
        v3 = openapi.v3(names)
        self._openapi = {
            path: _tagged(body)
            for path, body in (
                ("/openapi/v2", openapi.v2(names)),
                ("/openapi/v3", openapi.v3_index(v3)),
                (openapi.V3_PATH, v3),
            )
        }
        self._names = names

    def resources(self, headers: Headers, target: Target) -> Response:
        """`/apis/<group>/<version>`."""
        self._renew()
        return represent(self._resources, headers, target)

    def groups(self, headers: Headers, target: Target) -> Response:
        """`/apis`, in the form that `Accept` asks for: aggregated discovery where it names that."""
        choice = negotiate(headers.get("Accept", ""), transforms=discovery.AGGREGATED)
        if choice is None:
            return represent(discovery.GROUP_LIST, headers, target)
        self._renew()
        document, tag = self._aggregated[choice.transform]
        if _unchanged(headers, tag):
            return Response(304, b"", headers=(("ETag", tag), ("Vary", "Accept")))
        return document.response(choice)

    def openapi(self, headers: Headers, target: Target) -> Response:
        """`/openapi/…`."""
        self._renew()
        if negotiate(headers.get("Accept", ""), offered=(JSON,)) is None:
            return represent(status.not_acceptable((JSON,)), headers)
        response, tag = self._openapi[target.path.rstrip("/")]
        asked = target.query.get("hash", ("",))[0]
        if asked and asked != tag.strip('"'):
            location = f"{openapi.V3_PATH}?hash={self._openapi[openapi.V3_PATH][1].strip(chr(34))}"
            return Response(301, b"", headers=(*NO_STORE, ("Location", location)))
        if _unchanged(headers, tag):
            return Response(304, b"", headers=(("ETag", tag), ("Vary", "Accept")))
        return _squeeze(response, headers)


def _tagged(body: bytes) -> tuple[Response, str]:
    tag = discovery.entity_tag(body)
    headers = (*NO_STORE, ("ETag", tag), ("Vary", "Accept"))
    return Response(200, body, content_type=JSON, headers=headers), tag


def _unchanged(headers: Headers, tag: str) -> bool:
    known = headers.get("If-None-Match", "")
    return known == "*" or tag in (part.strip().removeprefix("W/") for part in known.split(","))


class HealthEndpoint:
    """`/livez` and the like: 200 `ok`, or 503 with what is wrong."""

    def __init__(self, name: str, checks: Mapping[str, Check]) -> None:
        self._name = name
        self._checks = checks

    def __call__(self, _headers: Headers, target: Target) -> Response:
        results = {name: check() for name, check in self._checks.items()}
        failed = any(results.values())
        if not failed and "verbose" not in target.query:
            return _OK
        lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in results.items()]
        lines.append(f"{self._name} check {'failed' if failed else 'passed'}\n")
        return text_response(503 if failed else 200, "\n".join(lines))


_OK = text_response(200, "ok")
