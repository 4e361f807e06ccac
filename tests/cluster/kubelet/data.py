"""What ConfigMaps and Secrets hold, as bytes by key."""

import base64
from typing import Any

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.objects import Kind, ObjectReader

Json = dict[str, Any]


async def read_data(reader: ObjectReader, kind: Kind, name: str, *, optional: bool) -> dict[str, bytes]:
    """Empty when the object is missing and `optional`. Raises `ConfigurationProblem` otherwise."""
    found = await reader.read(kind, name)
    if found is None:
        if optional:
            return {}
        raise ConfigurationProblem(f'{kind[:-1]} "{name}" not found')
    plain: dict[str, str] = found.get("data") or {}
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in plain.items()}
    binary: dict[str, str] = found.get("binaryData") or {}
    return {key: value.encode() for key, value in plain.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }
