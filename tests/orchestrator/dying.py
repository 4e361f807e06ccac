"""A Kubernetes API that fails, lists late, and at some call is the last thing its caller ever did.

Dying is abrupt: the call at which it happens has its effect or not, as the test says, and no later call
of the same life reaches the cluster. That is what `kill -9` leaves behind.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ottoscaler.orchestrator.kube_api import Kube, Params
from ottoscaler.runtime.kube import KubeError, PatchKind, WatchEvent

_STALE_SECONDS = 0.3


@dataclass(slots=True)
class Faults:
    """What one life has to live with. `calls` counts those it has made."""

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    dies_at: int | None = None
    after: bool = False
    """It dies when that call has had its effect, not before."""
    failing: float = 0.0
    """The share of calls that fail, half of them after their effect."""
    relisting: float = 0.0
    """The share of watch events before which a list is taken that is told only after they happened."""
    calls: int = 0
    dead: asyncio.Event = field(default_factory=asyncio.Event)

    async def guard(self, call: Callable[[], Awaitable[Any]], gone: Exception) -> Any:
        """Makes the call, unless this is where the life ends; raises `gone` after its end."""
        if self.dead.is_set():
            raise gone
        self.calls += 1
        if self.calls == self.dies_at:
            if self.after:
                await call()
            self.dead.set()
            await asyncio.Event().wait()
        return await call()


class FaultyKube:
    """A `Kube` with faults."""

    def __init__(self, kube: Kube, faults: Faults) -> None:
        self._kube = kube
        self._faults = faults

    async def get(self, path: str, params: Params | None = None) -> Any:
        return await self._call(lambda: self._kube.get(path, params))

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        return await self._call(lambda: self._kube.create(path, body, params))

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any:
        return await self._call(lambda: self._kube.replace(path, body, params))

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        return await self._call(lambda: self._kube.patch(path, body, kind=kind, params=params))

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        return await self._call(lambda: self._kube.delete(path, body, params))

    async def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]:
        """Now and then it lists again, and tells of the list late: newer events follow it."""
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()

        async def pump() -> None:
            async for event in self._kube.watch(path, params):
                queue.put_nowait(event)

        pumping = asyncio.create_task(pump())
        try:
            while True:
                event = await queue.get()
                if event.type != "SYNC" and self._faults.rng.random() < self._faults.relisting:
                    listed = await self._kube.get(path, params)
                    while not queue.empty():
                        queue.get_nowait()  # the list has it
                    await asyncio.sleep(_STALE_SECONDS)
                    yield WatchEvent("SYNC", listed["items"], listed["metadata"]["resourceVersion"])
                else:
                    yield event
        finally:
            pumping.cancel()

    def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        return self._kube.stream(path, params)

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        rng, dead = self._faults.rng, KubeError(status=0, reason="Dead", message="dead")
        if rng.random() >= self._faults.failing:
            return await self._faults.guard(call, dead)
        if rng.random() < 0.5:
            await self._faults.guard(call, dead)
        raise KubeError(status=rng.choice((0, 500, 504)), reason="", message="simulated")


async def until_dead(works: list[Any], faults: Faults) -> None:
    """Runs `works` until the life ends; whatever fails in between fails the test."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in works]
    dying: asyncio.Task[Any] = asyncio.create_task(faults.dead.wait())
    try:
        await asyncio.wait({dying, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        faults.dead.set()
        for task in (dying, *tasks):
            task.cancel()
        await asyncio.gather(dying, *tasks, return_exceptions=True)
