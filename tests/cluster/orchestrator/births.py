"""Every worker pod that the API server ever had in a namespace, told by a watch of the test's own."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ottoscaler.orchestrator.worker import read_worker
from ottoscaler.runtime.kube import KubeClient


class Births:
    """`names` counts by pod name and uid; `latencies` are seconds from XADD to the pod, as seen here."""

    def __init__(self) -> None:
        self.uids: dict[str, set[str]] = {}
        self.latencies: dict[str, float] = {}
        self.alive: set[str] = set()
        self.most_alive = 0

    @property
    def twice(self) -> Counter[str]:
        """Names under which more than one pod was created."""
        return Counter({name: len(uids) for name, uids in self.uids.items() if len(uids) > 1})

    async def run(self, kube: KubeClient, path: str) -> None:
        """Until cancelled."""
        async for event in kube.watch(path, {"labelSelector": "managed-by=ottoscaler"}):
            if event.type == "SYNC":
                for pod in event.object:
                    self._born(pod)
            elif event.type == "ADDED":
                self._born(event.object)
            elif event.type == "DELETED":
                self.alive.discard(event.object["metadata"]["uid"])

    def _born(self, pod: Any) -> None:
        worker = read_worker(pod)
        self.uids.setdefault(worker.name, set()).add(worker.uid)
        self.alive.add(worker.uid)
        self.most_alive = max(self.most_alive, len(self.alive))
        if worker.event is not None:
            sent = int(worker.event.partition("-")[0]) / 1000
            self.latencies.setdefault(worker.name, time.time() - sent)


@asynccontextmanager
async def births(kube: KubeClient, path: str) -> AsyncIterator[Births]:
    """Watches for as long as the block lasts."""
    told = Births()
    watching = asyncio.create_task(told.run(kube, path))
    try:
        yield told
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
