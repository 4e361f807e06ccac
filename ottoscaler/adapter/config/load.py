"""One entry for configuration, wherever it comes from: it is good as a whole, or refused as a whole."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ottoscaler.adapter.config.environment import document_from
from ottoscaler.adapter.config.model import Config, QueueConfig, Root
from ottoscaler.adapter.config.queues import decode_queues
from ottoscaler.adapter.sources.base import Backend
from ottoscaler.runtime import document
from ottoscaler.runtime.config import LOG_VARIABLES, ConfigError, log_from
from ottoscaler.runtime.decode import INVALID, decode_struct, suggestion
from ottoscaler.runtime.document import DocumentError, Node, Problem


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of the file at `path`, or of `environ` alone. Raises `ConfigError`."""
    if path is None:
        return from_environment(environ)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    return from_text(content, name=str(path), environ=environ)


def from_text(content: bytes, *, name: str, environ: Mapping[str, str]) -> Config:
    """The configuration that `content` is; `name` is what errors call it. Raises `ConfigError`."""
    try:
        root = document.parse(content, name=name)
    except DocumentError as error:
        raise ConfigError([error.problem]) from None
    if root.value is None:
        raise ConfigError([Problem(name, "", "is empty: write at least `queues:`")])
    if isinstance(root.value, dict) and "log" not in root.value:
        log = log_from(environ)
        if log is not None:
            root.value["log"], root.keys["log"] = log, log.place
    return _decode(root, hashlib.sha256(content).hexdigest())


def from_environment(environ: Mapping[str, str]) -> Config:
    """The one-queue configuration of existing installations. Raises `ConfigError`."""
    root = document_from(environ)
    if "queues" not in root.value:
        raise ConfigError(
            [
                Problem(
                    "environment",
                    "",
                    "no queue: give --config FILE, or set FIREBASE_DATABASE_URL, REDIS_HOST or REDIS_STREAM",
                )
            ]
        )
    digest = hashlib.sha256(repr(root.plain()).encode()).hexdigest()
    return _decode(root, digest)


def _decode(node: Node, digest: str) -> Config:
    problems: list[Problem] = []
    root = decode_struct(node, Root, "", problems, handled=("queues",))
    if not isinstance(node.value, dict):
        raise ConfigError(problems)
    queues: tuple[QueueConfig, ...] = ()
    backends: Mapping[str, Backend[Any]] = {}
    if "queues" in node.value:
        queues, backends = decode_queues(node.value["queues"], "queues", problems)
    else:
        problems.append(Problem(node.place, "", "queues is missing"))
    if root is not INVALID and not problems:
        _check_parts(root, queues, node, problems)
    if problems:
        raise ConfigError(problems)
    return Config(root=root, queues=queues, backends=backends, digest=digest)


def _check_parts(root: Root, queues: tuple[QueueConfig, ...], node: Node, problems: list[Problem]) -> None:
    """Derived metrics name queues that exist and count what is asked, and one another's names not at all."""
    names = {queue.name: queue for queue in queues}
    seen: set[str] = set()
    for index, metric in enumerate(root.metrics):
        place = node.value["metrics"].value[index]
        path = f"metrics[{index}]"
        if metric.name in seen:
            problems.append(Problem(place.place, path, f'a metric named "{metric.name}" exists already'))
        seen.add(metric.name)
        for number, part in enumerate(metric.of):
            where = place.value["of"].value[number]
            if part.queue in names:
                lacking = names[part.queue].lacks(part.metric)
                if lacking is not None:
                    problem = f"nothing counts the {lacking} jobs of {part.queue} ({names[part.queue].kind})"
                    problems.append(Problem(where.place, f"{path}.of[{number}].metric", problem))
            else:
                hint = suggestion(part.queue, sorted(names))
                problems.append(
                    Problem(where.place, f"{path}.of[{number}].queue", f'no queue "{part.queue}"{hint}')
                )


__all__ = ["LOG_VARIABLES", "ConfigError", "from_environment", "from_text", "load"]
