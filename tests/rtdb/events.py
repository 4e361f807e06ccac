"""What a listener of a path hears of a write: `put` and `patch` frames of the event stream."""

import asyncio
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from tests.rtdb.database import Database, Path, Write
from tests.rtdb.query import Query
from tests.rtdb.values import key_order, shown


class Command(Enum):
    """What a fault makes a running stream do, besides sending bytes."""

    ABORT = "reset the connection"
    SILENCE = "send nothing more, keep-alives included, and stay open"
    END = "end the answer in good order"


def frame(event: str, data: Any) -> bytes:
    """One server-sent event as the database writes it."""
    return f"event: {event}\ndata: {encode(data)}\n\n".encode()


def encode(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Listener:
    """A subscription to a path, filtered or not. What is to be sent waits in `outbox`, in order."""

    def __init__(self, database: Database, path: Path, query: Query | None) -> None:
        self.outbox: asyncio.Queue[bytes | Command] = asyncio.Queue()
        self.path = path
        self._database = database
        self._query = query
        self._window: frozenset[str] = frozenset()

    def open(self) -> None:
        """Subscribes; the first frame is the whole value. Raises `BadQuery`."""
        value = self._value()
        self._window = frozenset(value) if isinstance(value, dict) else frozenset()
        self._send("put", "/", shown(value))
        self._database.listeners.add(self._hear)

    def close(self) -> None:
        """Hears no more."""
        self._database.listeners.discard(self._hear)

    def _value(self) -> Any:
        if self._query is not None:
            return self._query.select(self._database, self.path)
        return self._database.get(self.path)

    def _send(self, event: str, path: str, data: Any) -> None:
        self.outbox.put_nowait(frame(event, {"path": path, "data": data}))

    def _hear(self, write: Write) -> None:
        if self._query is not None:
            self._hear_filtered(write)
        elif write.is_patch and self._contains(write.base):
            base = len(write.base)
            values = {"/".join(path[base:]): shown(value) for path, value in write.changed.items()}
            self._send("patch", self._relative(write.base), values)
        else:
            self._hear_each(write.changed)

    def _hear_each(self, changed: Mapping[Path, Any]) -> None:
        for path, value in changed.items():
            if self._contains(path):
                self._send("put", self._relative(path), shown(value))
            elif self.path[: len(path)] == path:  # the write replaced an ancestor
                self._send("put", "/", shown(self._value()))

    def _hear_filtered(self, write: Write) -> None:
        """Children that leave the window are sent as null (not verified against a real database)."""
        value = self._value()
        window = frozenset(value) if isinstance(value, dict) else frozenset()
        for key in sorted(self._window - window, key=key_order):
            self._send("put", f"/{key}", None)
        for key in sorted(window - self._window, key=key_order):
            self._send("put", f"/{key}", shown(value[key]))
        stayed = window & self._window
        self._window = window
        depth = len(self.path)
        inside = {
            path: data
            for path, data in write.changed.items()
            if self._contains(path) and len(path) > depth and path[depth] in stayed
        }
        self._hear_each(inside)

    def _contains(self, path: Path) -> bool:
        return path[: len(self.path)] == self.path

    def _relative(self, path: Path) -> str:
        return "/" + "/".join(path[len(self.path) :])
