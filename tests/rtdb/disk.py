"""Data that outlives the process: one JSON file, replaced as a whole after each write."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.rtdb.database import Database


def load(file: Path) -> dict[str, Database]:
    """The databases of `file`; none when it is not there yet."""
    if not file.exists():
        return {}
    content = json.loads(file.read_bytes())
    return {name: Database(root=each["root"], rules=each["rules"]) for name, each in content.items()}


def save(file: Path, databases: Mapping[str, Database]) -> None:
    """Replaces `file`, so that a kill at any moment leaves one whole state."""
    content = {name: {"root": each.root, "rules": each.rules} for name, each in databases.items()}
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(content))
    draft.replace(file)
