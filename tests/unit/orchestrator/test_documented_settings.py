"""The table of settings in docs/orchestrator.md has every key of the configuration, with its default."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec

from ottoscaler.orchestrator.config.model import Root
from ottoscaler.runtime.redis import RedisConnection

PAGE = Path(__file__).parents[3] / "docs" / "orchestrator.md"
ROW = re.compile(r"\| `([\w.]+)` \| (?:`([^`]*)`|none) \|.*")


def documented() -> dict[str, str | None]:
    """Key to default; None where there is none."""
    section = PAGE.read_text().partition("\n## Configuration\n")[2].partition("\n## ")[0]
    rows = [ROW.fullmatch(line) for line in section.splitlines() if line.startswith("| `")]
    assert all(rows), "a row is not of the table's form"
    return {row[1]: row[2] for row in rows if row}


def settings(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.encode_name}"
        block = _block(field.type)
        if block is not None and block is not RedisConnection:
            yield from settings(block, f"{path}.")
        else:
            yield path, _shown(field.default)


def _block(kind: Any) -> type[msgspec.Struct] | None:
    kinds = (kind, *get_args(kind))
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)), None)


def _shown(default: Any) -> str | None:
    match default:
        case RedisConnection():
            return default.url
        case bool():
            return str(default).lower()
        case None | msgspec.NODEFAULT:
            return None
        case _:
            return str(default)


def test_the_table_has_every_key_with_its_default() -> None:
    assert documented() == dict(settings(Root))
