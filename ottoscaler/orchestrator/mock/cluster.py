"""The cluster of mock mode: the calls of a `Kube`, answered from memory."""

import copy
import re
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from ottoscaler.orchestrator.kube_api import Params
from ottoscaler.orchestrator.mock.objects import Object, Objects, parse_selector, refuse
from ottoscaler.orchestrator.mock.pods import Life
from ottoscaler.orchestrator.times import format_time
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.kube import PatchKind, WatchEvent
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import TaskSet

log = get_logger("mock")

_PATH = re.compile(
    r"(?P<collection>/(?:api/v1|apis/[^/]+/[^/]+)/namespaces/[^/]+/[^/]+)(?:/(?P<name>[^/]+))?(?:/log)?"
)


class MockCluster:
    """Use as an async context manager: simulated pods run until its end.

    A pod takes `start_seconds` from its admission to its start, and `stop_seconds` to be removed.
    """

    def __init__(
        self, *, clock: Clock = SYSTEM_CLOCK, start_seconds: float = 0.2, stop_seconds: float = 0.1
    ) -> None:
        self._clock = clock
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self.objects = Objects(clock)
        self._lives: dict[str, Life] = {}
        self._tasks = TaskSet(lambda error: log.error("a simulated pod failed", error=error, exc_info=error))
        self._addresses = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.cancel()

    async def get(self, path: str, params: Params | None = None) -> Any:
        collection, name = _split(path)
        if not name:
            return self.objects.list(collection, parse_selector((params or {}).get("labelSelector", "")))
        return copy.deepcopy(self.objects.find(collection, name))

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        collection, _ = _split(path)
        self.objects.create(collection, body)
        made = self.objects.find(collection, body["metadata"]["name"])
        if collection.endswith("/pods"):
            self._begin(collection, made)
        return copy.deepcopy(made)

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any:
        return self.objects.replace(*_split(path), body)

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        collection, name = _split(path)
        patched = self.objects.patch(collection, name, body)
        if life := self._lives.get(patched["metadata"]["uid"]):
            life.changed.set()
        return patched

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        collection, name = _split(path)
        doomed = self.objects.find(collection, name)
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        if uid is not None and uid != doomed["metadata"]["uid"]:
            raise refuse(409, "Conflict", "the uid in the precondition does not match")
        ended = doomed.get("status", {}).get("phase") in {"Succeeded", "Failed"}
        if not collection.endswith("/pods") or ended:
            self._lives.pop(doomed["metadata"]["uid"], None)
            self.objects.remove(collection, name)
        elif "deletionTimestamp" not in doomed["metadata"]:
            at = format_time(self._clock.time() + self._stop_seconds)
            doomed["metadata"] |= {"deletionTimestamp": at, "deletionGracePeriodSeconds": self._stop_seconds}
            self.objects.changed(collection, doomed, "MODIFIED")
            self._tasks.start(self._end(collection, doomed))
        return {"kind": "Status", "status": "Success"}

    def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]:
        selector = parse_selector((params or {}).get("labelSelector", ""))
        return self.objects.watch(_split(path)[0], selector)

    async def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        pod = self.objects.find(*_split(path))
        life = self._lives[pod["metadata"]["uid"]]
        async for piece in life.log(dict(params or {})):
            yield piece

    def finish(self, path: str, *, exit_code: int, lines: Sequence[str] = ()) -> None:
        """The pod at `path` writes `lines` and ends, now, whatever it was told to do."""
        pod = self.objects.find(*_split(path))
        life, now = self._lives[pod["metadata"]["uid"]], self._clock.time()
        if life.task is not None:
            life.task.cancel()
        for line in lines:
            life.running.write(now, line)
        life.end(exit_code, now)

    def _begin(self, collection: str, pod: Object) -> None:
        self._addresses += 1
        number = self._addresses
        life = Life(
            pod,
            clock=self._clock,
            start_seconds=self._start_seconds,
            ip=f"10.0.{number // 250 % 250}.{number % 250 + 1}",
            told=lambda changed: self.objects.changed(collection, changed, "MODIFIED"),
        )
        self._lives[pod["metadata"]["uid"]] = life
        life.task = self._tasks.start(life.run())

    async def _end(self, collection: str, pod: Object) -> None:
        await self._clock.sleep(self._stop_seconds)
        if life := self._lives.pop(pod["metadata"]["uid"], None):
            life.stop()
        self.objects.remove(collection, pod["metadata"]["name"])


def _split(path: str) -> tuple[str, str]:
    match = _PATH.fullmatch(path)
    if match is None:
        raise refuse(404, "NotFound", f"mock mode has nothing at {path}")
    return match["collection"], match["name"] or ""
