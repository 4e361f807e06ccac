"""The events that people read in `kubectl describe pod`.

They are sent one after the other by one task, behind everything that matters, and repeated ones are
counted up instead of written anew. When 500 pods start at once some are dropped, as a real kubelet
drops them (`--event-qps`).
"""

import asyncio
from collections import OrderedDict
from typing import Any, Literal

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.log import get_logger
from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.podobject import PodObject

Json = dict[str, Any]
Severity = Literal["Normal", "Warning"]

_QUEUED = 500
_REMEMBERED = 2000

log = get_logger("events")


class Events:
    """Takes events at once, sends them when it can."""

    def __init__(self, api: KubeClient, node: str) -> None:
        self._api = api
        self._node = node
        self._queue: asyncio.Queue[Json] = asyncio.Queue(_QUEUED)
        self._sent: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def record(
        self, pod: PodObject, severity: Severity, reason: str, message: str, *, container: str | None = None
    ) -> None:
        """`container` is a field path such as `spec.containers{web}`."""
        involved: Json = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
        }
        if container is not None:
            involved["fieldPath"] = container
        moment = timestamps.seconds()
        event = {
            "metadata": {"generateName": f"{pod.name[:200]}.", "namespace": pod.namespace},
            "involvedObject": involved,
            "type": severity,
            "reason": reason,
            "message": message[:1024],
            "count": 1,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
        }
        if not self._queue.full():
            self._queue.put_nowait(event)

    async def run(self) -> None:
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except KubeError as error:
                # 404 and 403: the namespace is going. Anything else is lost too: it is only an event.
                log.debug("event not written", reason=event["reason"], status=error.status)

    async def _send(self, event: Json) -> None:
        path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        involved = event["involvedObject"]
        key = involved["uid"], involved.get("fieldPath", ""), event["reason"], event["message"]
        if known := self._sent.get(key):
            name, count = known
            again = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
            await self._api.patch(f"{path}/{name}", again, kind="strategic")
            self._sent[key] = name, count + 1
            return
        written = await self._api.create(path, event)
        self._sent[key] = written["metadata"]["name"], 1
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
