"""ConfigMaps and Secrets, each watched once for as long as a pod of this node refers to it.

500 pods that mount the same ConfigMap cost one watch, and a change reaches their volumes at once.
A node may read an object only after the API server's Node authorizer has seen a pod that refers to
it, which takes a moment, so refusals are retried.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet.errors import ConfigurationProblem

Kind = Literal["configmaps", "secrets"]
Json = dict[str, Any]

_READ_SECONDS = 10.0
_LINGER_SECONDS = 10.0
"""A watch outlives its last pod for so long: pods of one kind follow each other."""


class _Watched:
    """One object, kept up to date by its task."""

    def __init__(self, kind: Kind, namespace: str, name: str) -> None:
        self._collection = f"/api/v1/namespaces/{namespace}/{kind}"
        self._name = name
        self.value: Json | None = None
        self.known = asyncio.Event()
        self.error: KubeError | None = None
        self.readers: set[ObjectReader] = set()
        self.task: asyncio.Task[None]

    async def run(self, api: KubeClient) -> None:
        await self._first(api)
        selector = {"fieldSelector": f"metadata.name={self._name}"}
        async for event in api.watch(self._collection, selector, backoff=Backoff(initial=0.1, maximum=2.0)):
            match event.type:
                case "SYNC":
                    self._set(event.object[0] if event.object else None)
                case "DELETED":
                    self._set(None)
                case _:
                    self._set(event.object)

    async def _first(self, api: KubeClient) -> None:
        delays = Backoff(initial=0.02, maximum=1.0)
        while True:
            try:
                return self._set(await api.get(f"{self._collection}/{self._name}"))
            except KubeError as error:
                if error.status == 404:
                    return self._set(None)
                self.error = error
                await asyncio.sleep(delays.next())

    def _set(self, value: Json | None) -> None:
        changed = _version(value) != _version(self.value)
        self.value = value
        self.known.set()
        if changed:
            for reader in self.readers:
                reader.on_change()


class Objects:
    """The node's watched objects. `tasks` must live as long as the kubelet."""

    def __init__(self, api: KubeClient, tasks: asyncio.TaskGroup) -> None:
        self._api = api
        self._tasks = tasks
        self._watched: dict[tuple[Kind, str, str], _Watched] = {}

    def reader(self, namespace: str, on_change: Callable[[], None]) -> "ObjectReader":
        """For one pod; `on_change` is called whenever an object that it has read changes."""
        return ObjectReader(self, namespace, on_change)

    def watched(self, kind: Kind, namespace: str, name: str) -> _Watched:
        key = kind, namespace, name
        if key not in self._watched:
            watched = self._watched[key] = _Watched(kind, namespace, name)
            watched.task = self._tasks.create_task(watched.run(self._api))
        return self._watched[key]

    def left(self, watched: _Watched) -> None:
        """A reader went: without readers the watch ends after a while."""
        if not watched.readers:
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._end, watched)

    def _end(self, watched: _Watched) -> None:
        if not watched.readers:
            watched.task.cancel()
            self._watched = {key: other for key, other in self._watched.items() if other is not watched}


class ObjectReader:
    """One pod's view. Objects that it has read once stay watched until `close`."""

    def __init__(self, objects: Objects, namespace: str, on_change: Callable[[], None]) -> None:
        self._objects = objects
        self._namespace = namespace
        self._read: set[_Watched] = set()
        self.on_change = on_change

    async def read(self, kind: Kind, name: str) -> Json | None:
        """The object, or None when there is none. Raises `ConfigurationProblem` when it cannot be read."""
        watched = self._objects.watched(kind, self._namespace, name)
        watched.readers.add(self)
        self._read.add(watched)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await watched.known.wait()
        except TimeoutError:
            raise ConfigurationProblem(
                f"{kind[:-1]} {self._namespace}/{name} cannot be read: {watched.error or 'no answer'}"
            ) from watched.error
        return watched.value

    def close(self) -> None:
        """Ends the interest in everything read."""
        for watched in self._read:
            watched.readers.discard(self)
            self._objects.left(watched)
        self._read.clear()


def _version(value: Json | None) -> Any:
    return None if value is None else (value["metadata"]["uid"], value["metadata"]["resourceVersion"])
