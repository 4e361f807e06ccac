"""The pods of this node: a watch brings them, each lives in a task of its own.

When the kubelet starts, what the runtime holds is matched with what the API server has: pods that
both know go on, pods that only the runtime knows are ended.
"""

import asyncio
from collections.abc import Iterable, Iterator

from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.dns import Endpoint
from tests.cluster.kubelet.podobject import Json, PodObject
from tests.cluster.kubelet.pods import Pod
from tests.cluster.kubelet.runtime.client import RuntimeFailure
from tests.cluster.kubelet.runtime.protocol import ContainerRecord

log = get_logger("pods")


class PodSet:
    """By uid. `run` keeps it; the rest asks it."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._pods: dict[str, Pod] = {}
        self.known = asyncio.Event()
        """Set once the pods of this node were listed."""

    def __iter__(self) -> Iterator[Pod]:
        return iter(list(self._pods.values()))

    def find(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name; the younger one while its predecessor is still ending."""
        found = None
        for pod in self:
            if (pod.object.namespace, pod.object.name) == (namespace, name):
                found = pod
        return found

    def endpoints(self, namespace: str, selector: Json) -> Iterable[Endpoint]:
        """The running pods that a Service's selector matches."""
        for pod in self:
            same = pod.object.namespace == namespace and selector.items() <= pod.object.labels.items()
            if same and pod.address and pod.ending is None:
                hostname = pod.object.hostname if pod.object.spec.get("hostname") else None
                yield Endpoint(address=pod.address, hostname=hostname, ready=pod.ready)

    async def run(self) -> None:
        """Until cancelled; containers live on."""
        context = self._context
        inventory = await context.runtime.inventory()
        records: dict[str, list[ContainerRecord]] = {sandbox.pod: [] for sandbox in inventory.sandboxes}
        for record in inventory.containers:
            records.setdefault(record.pod, []).append(record)
        selector = {"fieldSelector": f"spec.nodeName={context.settings.node}"}
        async with asyncio.TaskGroup() as tasks:
            async for event in context.api.watch(
                "/api/v1/pods", selector, backoff=Backoff(initial=0.05, maximum=1.0)
            ):
                match event.type:
                    case "SYNC":
                        versions = [PodObject(json) for json in event.object]
                        present = {version.uid for version in versions}
                        self._drop_missing(present)
                        for version in versions:
                            self._see(version, tasks, records)
                        for orphan in records.keys() - present:
                            tasks.create_task(context.runtime.forget_pod(orphan))
                        records = {}
                        self.known.set()
                    case "DELETED":
                        if pod := self._pods.get(event.object["metadata"]["uid"]):
                            pod.vanish()
                    case _:
                        self._see(PodObject(event.object), tasks, records)

    def _drop_missing(self, present: set[str]) -> None:
        for uid, pod in self._pods.items():
            if uid not in present:
                pod.vanish()

    def _see(
        self, version: PodObject, tasks: asyncio.TaskGroup, records: dict[str, list[ContainerRecord]]
    ) -> None:
        pod = self._pods.get(version.uid)
        if pod is None:
            pod = self._pods[version.uid] = Pod(version, self._context, records.get(version.uid, []))
            tasks.create_task(self._live(pod))
        pod.update(version)

    async def _live(self, pod: Pod) -> None:
        """One pod's failure is not the others'; what it left behind is ended."""
        try:
            await pod.run()
        except* RuntimeFailure:
            log.warning("the container runtime is gone", pod=pod.object.key)
        except* Exception:
            log.exception("pod failed", pod=pod.object.key)
            await self._context.runtime.forget_pod(pod.object.uid)
        finally:
            del self._pods[pod.object.uid]
