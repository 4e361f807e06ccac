"""The rights that docs/configuration.md says an ACL user needs: tests make users of exactly these."""

import re
from pathlib import Path
from typing import Any

from tests.redis.server import RedisServer

_PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_ROW = re.compile(r"^- ([^:]+): `(\+[^`]*)`", re.MULTILINE)


def _documented() -> dict[str, list[str]]:
    section = _PAGE.read_text().partition("An ACL user needs")[2].partition("\n### ")[0]
    return {where: rules.split() for where, rules in _ROW.findall(section)}


_DOCUMENTED = _documented()
ALWAYS = _DOCUMENTED["always"]
STREAM = _DOCUMENTED["a stream"]
CREATE = _DOCUMENTED["`missing` is `create`"]
LISTS = _DOCUMENTED["lists"]
CLUSTER = _DOCUMENTED["a Cluster"]
DATABASE = _DOCUMENTED["a database but 0"]
SENTINEL = _DOCUMENTED["of the Sentinels"]


def allow(server: RedisServer, rights: list[str], *, keys: str = "%R~*") -> None:
    """Makes the user `reader`, password `secret`, with these rights and no other."""
    with server.commands() as client:
        untyped: Any = client
        untyped.response_callbacks.clear()
        rules = ("reset", "on", ">secret", keys, "-@all", *rights)
        untyped.execute_command("ACL", "SETUSER", "reader", *(rule for rule in rules if rule))
