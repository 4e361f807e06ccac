"""Which configuration block means which backend.

Names are known without importing anything, since importing a backend the configuration does not use
would cost start-up time and memory. Backends of other packages join by an entry point of the group
`ottoscaler.backends` whose name is the block and whose object is the `Backend` or its class.
"""

from functools import cache
from importlib import import_module
from typing import Any

from ottoscaler.adapter.sources.base import Backend

ENTRY_POINTS = "ottoscaler.backends"

_BUILT_IN: dict[str, str] = {
    "firebase": "ottoscaler.adapter.sources.firebase_rtdb:BACKEND",
    "firestore": "ottoscaler.adapter.sources.firestore:BACKEND",
    "prometheus": "ottoscaler.adapter.sources.prometheus:BACKEND",
    "redis": "ottoscaler.adapter.sources.redis:BACKEND",
}


class BackendError(Exception):
    """A backend that another package promises could not be loaded; the message is for people."""


def blocks() -> tuple[str, ...]:
    """The names of all blocks, sorted: built in and installed."""
    return tuple(sorted(_BUILT_IN.keys() | _installed().keys()))


def load(block: str) -> Backend[Any] | None:
    """The backend of `block`, imported now; None when nobody provides one. Raises `BackendError`."""
    if block in _BUILT_IN:
        module, _, name = _BUILT_IN[block].partition(":")
        backend: Backend[Any] = getattr(import_module(module), name)
        return backend
    entry = _installed().get(block)
    return None if entry is None else _load_installed(block, entry)


@cache
def _installed() -> dict[str, Any]:
    from importlib.metadata import entry_points  # 15 ms, for installations that use it

    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS) if entry.name not in _BUILT_IN}


def _load_installed(block: str, entry: Any) -> Backend[Any]:
    who = f"the backend {block!r} of {entry.value}"
    try:
        loaded: Any = entry.load()
        backend: Backend[Any] = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # somebody else's code, of which anything can be expected
        raise BackendError(f"{who} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [
        name for name in ("block", "settings", "kind", "connection", "source") if not hasattr(backend, name)
    ]
    if missing:
        raise BackendError(f"{who} lacks {', '.join(missing)}")
    if backend.block != block:
        raise BackendError(f"{who} calls itself {backend.block!r}")
    return backend
