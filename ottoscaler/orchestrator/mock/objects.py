"""Objects of the Kubernetes API in memory: names, versions, selectors, patches, watches."""

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from ottoscaler.orchestrator.times import format_time
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError, WatchEvent, WatchType

Object = dict[str, Any]


def refuse(status: int, reason: str, message: str) -> KubeError:
    return KubeError(status=status, reason=reason, message=message)


class Objects:
    """Collections by path. What is read is a copy, as from a server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._collections: dict[str, dict[str, Object]] = {}
        self._version = 0
        self._watchers: list[tuple[str, Mapping[str, str], asyncio.Queue[WatchEvent]]] = []

    def items(self, collection: str) -> Iterator[Object]:
        """The objects themselves, for who simulates what happens to them."""
        return iter(tuple(self._collections.get(collection, {}).values()))

    def find(self, collection: str, name: str) -> Object:
        """The object itself. Raises `KubeError`."""
        try:
            return self._collections[collection][name]
        except KeyError:
            raise refuse(404, "NotFound", f'"{name}" not found') from None

    def list(self, collection: str, selector: Mapping[str, str]) -> Object:
        found = [copy.deepcopy(each) for each in self.items(collection) if matches(each, selector)]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": found}

    def create(self, collection: str, body: Object) -> Object:
        made = copy.deepcopy(body)
        metadata = made.setdefault("metadata", {})
        name = metadata.get("name", "")
        if name in self._collections.setdefault(collection, {}):
            raise refuse(409, "AlreadyExists", f'"{name}" already exists')
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = format_time(float(int(self._clock.time())))
        self._collections[collection][name] = made
        self.changed(collection, made, "ADDED")
        return copy.deepcopy(made)

    def replace(self, collection: str, name: str, body: Object) -> Object:
        known = self.find(collection, name)
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != known["metadata"]["resourceVersion"]:
            raise refuse(409, "Conflict", "the object has been modified")
        made = copy.deepcopy(body)
        made["metadata"] = {**known["metadata"], **made.get("metadata", {}), "uid": known["metadata"]["uid"]}
        self._collections[collection][name] = made
        self.changed(collection, made, "MODIFIED")
        return copy.deepcopy(made)

    def patch(self, collection: str, name: str, body: Object) -> Object:
        known = self.find(collection, name)
        uid = body.get("metadata", {}).get("uid")
        if uid is not None and uid != known["metadata"]["uid"]:
            raise refuse(409, "Conflict", "the uid does not match")
        merge(known, body)
        self.changed(collection, known, "MODIFIED")
        return copy.deepcopy(known)

    def remove(self, collection: str, name: str) -> None:
        gone = self._collections.get(collection, {}).pop(name, None)
        if gone is not None:
            self.changed(collection, gone, "DELETED")

    def changed(self, collection: str, changed: Object, kind: WatchType) -> None:
        """Gives the object a new version and tells who watches."""
        self._version += 1
        changed["metadata"]["resourceVersion"] = str(self._version)
        for watched, selector, queue in self._watchers:
            if watched == collection and matches(changed, selector):
                queue.put_nowait(WatchEvent(kind, copy.deepcopy(changed)))

    async def watch(self, collection: str, selector: Mapping[str, str]) -> AsyncIterator[WatchEvent]:
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        watcher = (collection, selector, queue)
        self._watchers.append(watcher)
        try:
            listed = self.list(collection, selector)
            yield WatchEvent("SYNC", listed["items"], listed["metadata"]["resourceVersion"])
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(watcher)


def parse_selector(text: str) -> dict[str, str]:
    """`a=b,c=d`; that is all that is used here."""
    return dict(part.split("=", 1) for part in text.split(",") if part)


def matches(each: Object, selector: Mapping[str, str]) -> bool:
    labels = each["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def merge(target: Object, patch: Mapping[str, Any]) -> None:
    """JSON merge patch (RFC 7386), with the strategic patch's deletion from lists by name."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, list) and any(isinstance(each, dict) and "$patch" in each for each in value):
            doomed = {each["name"] for each in value if each.get("$patch") == "delete"}
            target[key] = [each for each in target.get(key) or [] if each.get("name") not in doomed]
        elif isinstance(value, Mapping) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
