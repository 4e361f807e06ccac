"""Writes a pod's status to the API server whenever it changed, until it is written.

Only the newest status counts: while the API server is away nothing piles up, and what it gets when
it is back is the truth of that moment.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet.podobject import PodObject

Json = dict[str, Any]
log = get_logger("status")


class Publisher:
    """One pod's status. `compute` gives the newest; `run` must run for `touch` to have an effect."""

    def __init__(self, api: KubeClient, pod: PodObject, compute: Callable[[], Json]) -> None:
        self._api = api
        self._pod = pod
        self._compute = compute
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()
        self._sent: Json | None = None
        self._gone = False

    def touch(self) -> None:
        """Something changed."""
        if not self._gone:
            self._idle.clear()
            self._dirty.set()

    async def flush(self) -> None:
        """Returns once the newest status is written, or the pod is gone."""
        await self._idle.wait()

    async def run(self) -> None:
        """Returns when the API server has no such pod any more."""
        delays = Backoff(initial=0.1, maximum=2.0)
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                status = self._compute()
                if status != self._sent:
                    try:
                        await self._write(status)
                    except KubeError as error:
                        if error.status in (404, 409):
                            return  # gone, or another pod of that name by now
                        log.warning("status not written, retrying", pod=self._pod.key, error=error)
                        self._dirty.set()
                        await asyncio.sleep(delays.next())
                        continue
                    delays.reset()
                    self._sent = status
                if not self._dirty.is_set():
                    self._idle.set()
        finally:
            self._gone = True
            self._idle.set()

    async def _write(self, status: Json) -> None:
        body = {"metadata": {"uid": self._pod.uid}, "status": status}
        await self._api.patch(f"{self._pod.path}/status", body, kind="strategic")
