"""What Kubernetes' own code makes of many inputs; tests/bench/go/vectors wrote the file."""

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _read() -> dict[str, list[dict[str, Any]]]:
    content: dict[str, list[dict[str, Any]]] = json.loads(
        Path(__file__).with_name("vectors.json").read_text(encoding="utf-8")
    )
    return content


def section(name: str) -> list[dict[str, Any]]:
    """One of quantities, selectors, labels, accepts, requests, objects."""
    return _read()[name]
