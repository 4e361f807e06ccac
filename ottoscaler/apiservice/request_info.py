"""What a request is about, read from its method and target alone.

The rules are those of k8s.io/apiserver/pkg/endpoints/request/requestinfo.go, since roles are written
against them: a GET without an object name is `list` (or `watch`), a path of fewer than four segments
below /apis is judged as a path.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import msgspec

from ottoscaler.apiservice.identity import Attributes

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_VERB_PREFIXES = frozenset(["proxy", "watch"])
_LONGEST_KEPT = 512
_MOST_PARAMETERS = 1000
"""In a query; it is read before anybody is known to may ask, since `watch` makes another verb."""
_NAMESPACE_SUBRESOURCES = frozenset(["status", "finalize"])

NO_QUERY: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class TargetError(ValueError):
    """A request target that cannot be understood; the message is for the caller."""


class Target(msgspec.Struct, frozen=True):
    """A request target, decoded."""

    path: str
    query: Mapping[str, tuple[str, ...]]
    query_error: str | None = None
    """Why the query could not be decoded; it is answered only to callers who may ask at all."""


def parse_target(raw: str) -> Target:
    """The origin form of a target (`/path?query`). Raises `TargetError` when the path is no path."""
    raw = raw.partition("#")[0]
    raw_path, _, raw_query = raw.partition("?")
    if not raw_path.startswith("/"):
        raise TargetError("the request target is not a path")
    path = _decode(raw_path)
    try:
        return Target(path, _parse_query(raw_query) if raw_query else NO_QUERY)
    except TargetError as error:
        return Target(path, NO_QUERY, str(error))


def _decode(text: str) -> str:
    if broken := _BROKEN_ESCAPE.search(text):
        escape = ascii(text[broken.start() : broken.start() + 3])[1:-1]
        raise TargetError(f'invalid URL escape "{escape}"')
    try:
        return unquote_to_bytes(text.encode(errors="surrogateescape")).decode()
    except UnicodeDecodeError as error:
        raise TargetError("the request target is not UTF-8") from error


def _parse_query(text: str) -> dict[str, tuple[str, ...]]:
    if text.count("&") >= _MOST_PARAMETERS:
        raise TargetError(f"the query has more than {_MOST_PARAMETERS} parameters")
    query: dict[str, list[str]] = {}
    for pair in text.split("&"):
        if ";" in pair:
            raise TargetError("invalid semicolon separator in query")
        if not pair:
            continue
        name, _, value = pair.replace("+", " ").partition("=")
        query.setdefault(_decode(name), []).append(_decode(value))
    return {name: tuple(values) for name, values in query.items()}


def attributes(method: str, target: Target) -> Attributes:
    """What a request wants to do. Raises `TargetError` where Kubernetes cannot tell either.

    Requests that differ in their query alone get the same object, so that what is known of one is
    quickly found for the others.
    """
    judge = _attributes if len(target.path) <= _LONGEST_KEPT else _attributes.__wrapped__
    return judge(method, target.path, watches(target.query))


@lru_cache(maxsize=512)
def _attributes(method: str, path: str, watch: bool) -> Attributes:
    parts = trimmed.split("/") if (trimmed := path.strip("/")) else []
    grouped = len(parts) >= 4 and parts[0] == "apis"
    if not grouped and not (len(parts) >= 3 and parts[0] == "api"):
        return Attributes(verb=method.lower(), path=path)
    group, version, *rest = parts[1:] if grouped else ["", *parts[1:]]
    verb = _VERBS.get(method, "")
    if rest[0] in _VERB_PREFIXES:
        verb, *rest = rest
        if not rest:
            raise TargetError("unable to determine kind and namespace from url")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 and verb not in _VERB_PREFIXES else ""
    if not name and verb == "get":
        verb = "watch" if watch else "list"
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Attributes(
        verb=verb,
        path=path,
        resource=rest[0],
        group=group,
        version=version,
        namespace=namespace,
        name=name,
        subresource=subresource,
    )


def watches(query: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the query asks for a stream of changes."""
    asked = query.get("watch")
    return asked is not None and asked[0].lower() not in ("false", "0")
