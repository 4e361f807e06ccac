"""The Kubernetes API with a stopwatch: how long each verb takes, and how it ends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from ottoscaler.orchestrator.kube_api import Kube, Params
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.kube import KubeError, PatchKind, WatchEvent

T = TypeVar("T")


class MeteredKube:
    """A `Kube` that measures another."""

    def __init__(self, kube: Kube, telemetry: Telemetry) -> None:
        self._kube = kube
        self._telemetry = telemetry

    async def get(self, path: str, params: Params | None = None) -> Any:
        return await self._timed("get", lambda: self._kube.get(path, params))

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        return await self._timed("create", lambda: self._kube.create(path, body, params))

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any:
        return await self._timed("update", lambda: self._kube.replace(path, body, params))

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        return await self._timed("patch", lambda: self._kube.patch(path, body, kind=kind, params=params))

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        return await self._timed("delete", lambda: self._kube.delete(path, body, params))

    def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]:
        return self._kube.watch(path, params)

    def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        return self._kube.stream(path, params)

    async def _timed(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        with self._telemetry.kube_call(verb) as outcome:
            try:
                return await call()
            except KubeError as error:
                outcome.append(error.reason or str(error.status))
                raise
