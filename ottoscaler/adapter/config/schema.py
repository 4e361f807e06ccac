"""The JSON schema of the configuration file: the types that decode it, and a block for each backend."""

from collections.abc import Iterable
from typing import Any

from ottoscaler.adapter.config.model import QueueOptions, Root
from ottoscaler.adapter.sources import registry
from ottoscaler.adapter.sources.base import Backend
from ottoscaler.runtime.schema import DIALECT, struct_schema


def schema(backends: Iterable[Backend[Any]] | None = None) -> dict[str, Any]:
    """The schema of the whole file; a queue has a block of one of `backends` (default: all there are)."""
    root = struct_schema(Root) | {"description": "What the adapter reads, and where it serves it."}
    chosen = tuple(_every_backend() if backends is None else backends)
    root["properties"]["queues"] = {"type": "array", "items": _queue(chosen)}
    return {"$schema": DIALECT, "title": "Ottoscaler adapter", **root, "required": ["queues"]}


def _every_backend() -> Iterable[Backend[Any]]:
    loaded = (registry.load(block) for block in registry.blocks())
    return [backend for backend in loaded if backend is not None]


def _queue(backends: tuple[Backend[Any], ...]) -> dict[str, Any]:
    queue = struct_schema(QueueOptions)
    for backend in backends:
        queue["properties"][backend.block] = struct_schema(backend.settings)
    queue["oneOf"] = [{"required": [backend.block]} for backend in backends]
    return queue
