"""What the configuration files of both processes have in common: their errors, their log, their addresses."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ottoscaler.runtime.document import Node, Problem

ADDRESS_PATTERN = r"^(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]*):[0-9]{1,5}$"
LOG_VARIABLES = {"level": "LOG_LEVEL", "format": "LOG_FORMAT"}
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]*):([0-9]{1,5})")
_LIKE_SERVICE_LINKS = frozenset({"GRPC_PORT", "REDIS_PORT"})
_MOST_SHOWN = 50

Address = Annotated[str, Meta(extra_json_schema={"pattern": ADDRESS_PATTERN})]


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all that is wrong, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=_by_line))
        shown = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            shown.append(f"… and {len(self.problems) - _MOST_SHOWN} more")
        super().__init__("\n".join(shown))


def _by_line(problem: Problem) -> int:
    """File order; an environment variable has no line."""
    line = problem.place.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


class Block(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What all blocks of a file have in common."""


class Log(Block, frozen=True):
    """The process's log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


def split_address(address: str) -> tuple[str, int]:
    """Host (empty: all interfaces) and port of `host:port` or `[IPv6]:port`. Raises `ValueError`."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"address {address[:80]!r} is not host:port with a port up to 65535")
    return match[1].removeprefix("[").removesuffix("]"), int(match[2])


def log_from(environ: Mapping[str, str]) -> Node | None:
    """The `log` block of `LOG_LEVEL` and `LOG_FORMAT`; None when neither is set."""
    values = {
        key: Node(environ[name].lower(), name) for key, name in LOG_VARIABLES.items() if environ.get(name)
    }
    return mapping(values, place="environment") if values else None


def without_service_links(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that Kubernetes sets by itself under a name of ours.

    A Service `redis` makes `REDIS_PORT=tcp://10.96.3.1:6379` in every pod of its namespace, which nobody
    meant as a setting.
    """
    return {
        name: value
        for name, value in environ.items()
        if not (name in _LIKE_SERVICE_LINKS and value.startswith("tcp://"))
    }


def redis_url_from(environ: Mapping[str, str]) -> Node:
    """The URL that `REDIS_HOST` and `REDIS_PORT` mean."""
    host, port = environ.get("REDIS_HOST") or "localhost", environ.get("REDIS_PORT") or "6379"
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return Node(f"redis://{host}:{port}/0", "REDIS_HOST, REDIS_PORT")


def mapping(values: dict[str, Node], *, place: str) -> Node:
    """A mapping whose keys stand where their values do."""
    return Node(values, place, keys={key: node.place for key, node in values.items()})
