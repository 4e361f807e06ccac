"""One database: a tree, its rules, and the listeners that hear of every write."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.rtdb.values import InvalidData, check_key, stored

NULL_ETAG = "null_etag"
Path = tuple[str, ...]


def split_path(path: str) -> Path:
    """The keys of `a/b//c/`; empty ones do not count."""
    return tuple(key for key in path.split("/") if key)


class Write(NamedTuple):
    """What changed: the value at each path, as stored (None: removed).

    `base` is the path of the request; a PATCH has several paths beneath it.
    """

    base: Path
    changed: Mapping[Path, Any]
    is_patch: bool


@dataclass(eq=False)
class Database:
    """A namespace. Values that come out are the stored ones: never change them."""

    root: Any = None
    rules: dict[str, Any] = field(default_factory=dict)
    locked: bool = False
    """Refuses every write, as a database that was disabled does."""
    listeners: set[Callable[[Write], None]] = field(default_factory=set)
    writes: int = 0
    _etags: dict[Path, str] = field(default_factory=dict)

    def get(self, path: Sequence[str]) -> Any:
        """The stored value at `path`, None when there is none."""
        value = self.root
        for key in path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    def put(self, path: Path, value: Any, *, now_ms: int) -> None:
        """Replaces what is at `path`. Raises `InvalidData` and changes nothing."""
        self._apply(Write(path, self._prepared({path: value}, now_ms), is_patch=False))

    def patch(self, base: Path, values: Mapping[str, Any], *, now_ms: int) -> None:
        """Replaces several children at once; keys may be paths. Raises `InvalidData`, changes nothing then."""
        raw = {base + split_path(key): value for key, value in values.items()}
        for path in raw:
            if any(path != other and path[: len(other)] == other for other in raw):
                raise InvalidData("Invalid data; paths of an update must not contain one another.")
        self._apply(Write(base, self._prepared(raw, now_ms), is_patch=True))

    def _prepared(self, raw: Mapping[Path, Any], now_ms: int) -> dict[Path, Any]:
        for path in raw:
            for key in path:
                check_key(key)
        return {
            path: stored(value, now_ms=now_ms, current=self.get(path), depth=len(path))
            for path, value in raw.items()
        }

    def _apply(self, write: Write) -> None:
        for path, value in write.changed.items():
            self._set(path, value)
        self.writes += 1
        self._etags.clear()
        for listener in list(self.listeners):
            listener(write)

    def _set(self, path: Path, value: Any) -> None:
        if not path:
            self.root = value
            return
        if value is None:
            self._remove(path)
            return
        if not isinstance(self.root, dict):
            self.root = {}
        node = self.root
        for key in path[:-1]:
            child = node.get(key)
            if not isinstance(child, dict):
                child = node[key] = {}
            node = child
        node[path[-1]] = value

    def _remove(self, path: Path) -> None:
        """Removes a value and every ancestor that is empty without it."""
        nodes = [self.root]
        for key in path[:-1]:
            nodes.append(nodes[-1].get(key) if isinstance(nodes[-1], dict) else None)
        if not isinstance(nodes[-1], dict):
            return
        for node, key in zip(reversed(nodes), reversed(path), strict=True):
            node.pop(key, None)
            if node:
                return
        self.root = None

    def etag(self, path: Path) -> str:
        """A digest of the value at `path`, which changes whenever the value does."""
        value = self.get(path)
        if value is None:
            return NULL_ETAG
        if path not in self._etags:
            digest = hashlib.sha1(json.dumps(value, sort_keys=True).encode(), usedforsecurity=False)
            self._etags[path] = base64.b64encode(digest.digest()).decode()
        return self._etags[path]

    def rules_at(self, path: Sequence[str]) -> list[dict[str, Any]]:
        """The rule objects from the root to `path`; a `$variable` matches any key."""
        node = self.rules.get("rules", self.rules)
        found = [node]
        for key in path:
            wild = next((name for name in node if name.startswith("$")), "")
            node = node.get(key, node.get(wild))
            if not isinstance(node, dict):
                break
            found.append(node)
        return found

    def is_indexed(self, path: Sequence[str], child: str) -> bool:
        """Whether the rules name `child` in the `.indexOn` of `path`."""
        rules = self.rules_at(path)
        if len(rules) != len(path) + 1:
            return False
        index = rules[-1].get(".indexOn", [])
        return child in ([index] if isinstance(index, str) else index)

    def allows(self, right: str, path: Sequence[str]) -> bool:
        """Whether constant rules grant `.read` or `.write` to everybody somewhere on the way to `path`."""
        return any(rule.get(right) is True for rule in self.rules_at(path))
