"""One entry for configuration, wherever it comes from: it is good as a whole, or refused as a whole.

The variables of existing installations are read as the document that they stand for, so one decoder
judges both, and an error names the variable where it would name a line. A key of the file wins over its
variable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ottoscaler.orchestrator.config.model import Root
from ottoscaler.runtime import document
from ottoscaler.runtime.config import ConfigError, log_from, mapping, redis_url_from, without_service_links
from ottoscaler.runtime.decode import INVALID, decode_struct
from ottoscaler.runtime.document import DocumentError, Node, Problem

_BOOL = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def load(path: Path | None, environ: Mapping[str, str]) -> Root:
    """The configuration of the file at `path` over that of `environ`. Raises `ConfigError`."""
    if path is None:
        return _decode(from_environment(environ))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    return from_text(content, name=str(path), environ=environ)


def from_text(content: bytes, *, name: str, environ: Mapping[str, str]) -> Root:
    """The configuration that `content` is; `name` is what errors call it. Raises `ConfigError`."""
    try:
        root = document.parse(content, name=name)
    except DocumentError as error:
        raise ConfigError([error.problem]) from None
    if root.value is None:
        return _decode(from_environment(environ))
    return _decode(_over(root, from_environment(environ)))


def from_environment(environ: Mapping[str, str]) -> Node:
    """The document that the variables stand for; nothing for those that are not set."""
    environ = without_service_links(environ)
    root: dict[str, Node] = {}
    if "GRPC_PORT" in environ:
        root["grpc"] = _block(address=Node(f"0.0.0.0:{environ['GRPC_PORT']}", "GRPC_PORT"))
    if environ.get("ORCHESTRATOR_HTTP_ADDRESS"):
        root["http"] = _block(address=_value(environ, "ORCHESTRATOR_HTTP_ADDRESS"))
    if "GRPC_MOCK_MODE" in environ:
        text = environ["GRPC_MOCK_MODE"].strip().lower()
        root["mock"] = Node(_BOOL.get(text, text), "GRPC_MOCK_MODE")
    if "OTTO_HANDLER_HOST" in environ:
        root["handler"] = _block(address=_value(environ, "OTTO_HANDLER_HOST"))
    if workers := _workers(environ):
        root["workers"] = _block(**workers)
    if events := _events(environ):
        root["events"] = _block(**events)
    log = log_from(environ)
    if log is not None:
        root["log"] = log
    return mapping(root, place="environment")


def _workers(environ: Mapping[str, str]) -> dict[str, Node]:
    workers = {
        key: _value(environ, name)
        for key, name in (("namespace", "NAMESPACE"), ("image", "OTTO_AGENT_IMAGE"))
        if environ.get(name)
    }
    limits = {
        key: _value(environ, name)
        for key, name in (("cpuLimit", "WORKER_CPU_LIMIT"), ("memoryLimit", "WORKER_MEMORY_LIMIT"))
        if environ.get(name)
    }
    if limits:
        workers["resources"] = _block(**limits)
    return workers


def _events(environ: Mapping[str, str]) -> dict[str, Node]:
    events = {
        key: _value(environ, name)
        for key, name in (("stream", "REDIS_STREAM"), ("group", "REDIS_CONSUMER_GROUP"))
        if environ.get(name)
    }
    if environ.get("REDIS_HOST") or environ.get("REDIS_PORT"):
        events["redis"] = _block(url=redis_url_from(environ))
    return events


def _value(environ: Mapping[str, str], name: str) -> Node:
    return Node(environ[name], name)


def _block(**values: Node) -> Node:
    return mapping(values, place=next(iter(values.values())).place)


def _over(upper: Node, lower: Node) -> Node:
    """`upper` with the keys of `lower` that it does not have, in blocks too."""
    if not (isinstance(upper.value, dict) and isinstance(lower.value, dict)):
        return upper
    if "url" in upper.value:
        return upper  # a connection is one thing: parts of two make none
    for key, node in lower.value.items():
        if key not in upper.value:
            upper.value[key], upper.keys[key] = node, node.place
        else:
            upper.value[key] = _over(upper.value[key], node)
    return upper


def _decode(node: Node) -> Root:
    problems: list[Problem] = []
    if isinstance(node.value, dict) and (mock := node.value.get("mock")) is not None and mock.value is True:
        # Without a cluster there is usually no Redis and no handler either: only what is named is used.
        for key in ("events", "handler"):
            node.value.setdefault(key, Node(None, mock.place))
            node.keys.setdefault(key, mock.place)
    root: Any = decode_struct(node, Root, "", problems)
    if problems or root is INVALID:
        raise ConfigError(problems)
    result: Root = root
    return result
