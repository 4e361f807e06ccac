"""One pod from its arrival on the node until nothing of it is left.

Its life: network and volumes, init containers one after the other, the containers side by side; then
it completes by itself, is deleted, or outlives its deadline. A pod that has completed keeps its logs
until it is deleted.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.containers import Container
from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.errors import CannotStart, SandboxProblem
from tests.cluster.kubelet.grace import GracePeriod
from tests.cluster.kubelet.identityfiles import write_identity_files
from tests.cluster.kubelet.podobject import Json, PodObject
from tests.cluster.kubelet.publisher import Publisher
from tests.cluster.kubelet.runtime.client import RuntimeFailure
from tests.cluster.kubelet.runtime.protocol import ContainerRecord
from tests.cluster.kubelet.states import Terminated, Waiting
from tests.cluster.kubelet.status import Conditions, ContainerView, Phase, phase
from tests.cluster.kubelet.volumes import Volumes

_VANISHED_GRACE = 1.0
"""Seconds for a pod whose object was removed by force."""
_SHOW_CREATING_SECONDS = 0.5
log = get_logger("pod")


class Pod:
    """A pod of this node. `records` are its containers that the runtime knows already."""

    def __init__(self, version: PodObject, context: NodeContext, records: Sequence[ContainerRecord]) -> None:
        self.object = version
        self.context = context
        self.directory: Path = context.settings.pods / version.uid
        self.address = context.settings.node_ip if version.host_network else ""
        self._source_changed = asyncio.Event()
        self.reader = context.objects.reader(version.namespace, self._source_changed.set)
        self.volumes = Volumes(self.directory / "volumes", self.reader, context)
        self.ending: GracePeriod | None = None
        self._ending_set = asyncio.Event()
        self._deleted = asyncio.Event()
        self._vanished = False
        self._reason: tuple[str, str] | None = None
        self._finished: Phase | None = None
        self._ended = False
        status = version.status
        self._started = str(status.get("startTime") or timestamps.seconds())
        self._conditions = Conditions(status.get("conditions") or [])
        self.init = [self._container(spec, records, init=True) for spec in version.init_containers]
        self.containers = [self._container(spec, records, init=False) for spec in version.containers]
        self._publisher = Publisher(context.api, version, self._status)

    def _container(self, spec: Json, records: Sequence[ContainerRecord], *, init: bool) -> Container:
        listed = self.object.status.get("initContainerStatuses" if init else "containerStatuses") or []
        previous: Json = next((status for status in listed if status["name"] == spec["name"]), {})
        own = [record for record in records if record.name == spec["name"]]
        return Container(spec, self, init=init, previous=previous, records=own)

    @property
    def ready(self) -> bool:
        return not self._finished and all(container.ready for container in self.containers)

    def container(self, name: str) -> Container | None:
        return next((c for c in (*self.containers, *self.init) if c.name == name), None)

    def changed(self) -> None:
        self._publisher.touch()

    def update(self, version: PodObject) -> None:
        """A newer version of the object: labels, annotations, a deletion, a shorter grace period."""
        own = ("labels", "annotations")
        if any(version.metadata.get(part) != self.object.metadata.get(part) for part in own):
            self._source_changed.set()
        self.object = version
        if (grace := version.deletion_grace) is not None:
            self._deleted.set()
            self._end(max(1.0, grace))

    def vanish(self) -> None:
        """The object is gone from the API server."""
        self._vanished = True
        self._deleted.set()
        self._end(_VANISHED_GRACE)

    def _end(self, grace: float) -> None:
        if self.ending is None:
            self.ending = GracePeriod(grace)
        else:
            self.ending.shorten(grace)
        self._ending_set.set()

    async def run(self) -> None:
        """Returns when nothing of the pod is left on the node."""
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(self._publisher.run())
            if self.object.finished:
                self._finished = self.object.status["phase"]
            else:
                await self._live()
                self.changed()
                await self._publisher.flush()
            await self._rest()
            await self._deleted.wait()
            await self._leave()
            publishing.cancel()

    async def _live(self) -> None:
        """Until no container runs any more and none will be started."""
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self._work())
            refreshing = tasks.create_task(self._refresh())
            ending = tasks.create_task(self._wait_for_end())
            await asyncio.wait({work, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                assert self.ending is not None
                stops = [container.stop(self.ending) for container in (*self.init, *self.containers)]
                await asyncio.gather(*stops)
                work.cancel()
            refreshing.cancel()
            ending.cancel()
        for container in (*self.init, *self.containers):
            await container.settle()
        self._ended = True

    async def _wait_for_end(self) -> None:
        """Until the pod is deleted or its `activeDeadlineSeconds` are over."""
        limit = self.object.spec.get("activeDeadlineSeconds")
        if limit is None:
            await self._ending_set.wait()
            return
        left = timestamps.parse(self._started).timestamp() + limit - timestamps.now().timestamp()
        try:
            async with asyncio.timeout(max(0.0, left)):
                await self._ending_set.wait()
        except TimeoutError:
            message = "Pod was active on the node longer than the specified deadline"
            self._reason = "DeadlineExceeded", message
            self.context.events.record(self.object, "Normal", "DeadlineExceeded", message)
            self._end(self.object.grace_seconds)

    async def _work(self) -> None:
        # Most pods run before anybody could read that they are being created: that write is spared.
        asyncio.get_running_loop().call_later(_SHOW_CREATING_SECONDS, self.changed)
        await self._prepare()
        for container in self.init:
            await container.run()
            if not (isinstance(container.state, Terminated) and container.state.code == 0):
                return
        for container in self.containers:
            if isinstance(container.state, Waiting) and container.state.reason == "PodInitializing":
                container.state = Waiting(reason="ContainerCreating")
        async with asyncio.TaskGroup() as tasks:
            for container in self.containers:
                tasks.create_task(container.run())

    async def _prepare(self) -> None:
        """Network, volumes and /etc files; tries until it works."""
        delays = Backoff(initial=0.2, maximum=self.context.settings.sync_seconds)
        while True:
            try:
                await self.context.services.known.wait()
                if not self.object.host_network:
                    self.address = await self._sandbox()
                write_identity_files(self.directory / "etc", self.object, self.address, self.context.settings)
                return await self.volumes.prepare(self.object, self.address)
            except CannotStart as problem:
                self.context.events.record(self.object, "Warning", problem.event, str(problem))
                for container in (*self.init, *self.containers):
                    if isinstance(container.state, Waiting):
                        container.state = Waiting(reason=container.state.reason, message=str(problem))
                self.changed()
                await asyncio.sleep(delays.next())

    async def _sandbox(self) -> str:
        try:
            return (await self.context.runtime.create_sandbox(self.object.uid)).address
        except RuntimeFailure as failure:
            raise SandboxProblem(str(failure)) from failure

    async def _refresh(self) -> None:
        """Keeps the volumes equal to their sources: when one changes, and when a token is to be renewed."""
        while True:
            due = self.volumes.renewal
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else self._until(due)):
                    await self._source_changed.wait()
            self._source_changed.clear()
            await self.volumes.refresh(self.object, self.address)

    def _until(self, moment: float) -> float:
        """Seconds; never less than what is due after a renewal that failed."""
        return max(self.context.settings.sync_seconds, moment - timestamps.now().timestamp())

    async def _rest(self) -> None:
        """The pod has completed: its network and its volumes are not needed any more, its logs are."""
        self.reader.close()
        await self.context.runtime.remove_sandbox(self.object.uid)
        await asyncio.to_thread(shutil.rmtree, self.directory / "volumes", ignore_errors=True)

    async def _leave(self) -> None:
        await self.context.runtime.forget_pod(self.object.uid)
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)
        delays = Backoff(initial=0.1, maximum=2.0)
        while not self._vanished:
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object.uid}}
            try:
                await self.context.api.delete(self.object.path, body)
                self._vanished = True
            except KubeError as error:
                if error.status in (404, 409):
                    return
                log.warning("pod not removed, retrying", pod=self.object.key, error=error)
                await asyncio.sleep(delays.next())

    def _status(self) -> Json:
        init, main = _views(self.init), _views(self.containers)
        initialized = all(isinstance(view.state, Terminated) and view.state.code == 0 for view in init)
        found = phase(init, main, restart_policy=self.object.restart_policy, ended=self._ended)
        if self._reason is not None and self._ended:
            found = "Failed"
        reason, message = self._reason if self._reason is not None and self._ended else (None, None)
        conditions = self._conditions.build(
            self.object, phase=found, sandbox=bool(self.address), initialized=initialized, main=main
        )
        status: Json = {
            "phase": found,
            "reason": reason,
            "message": message,
            "conditions": conditions,
            "hostIP": self.context.settings.node_ip,
            "hostIPs": [{"ip": self.context.settings.node_ip}],
            "startTime": self._started,
            "containerStatuses": [container.to_json() for container in self.containers],
        }
        if self.init:
            status["initContainerStatuses"] = [container.to_json() for container in self.init]
        if self.address:
            # Lists of addresses are merged by address: one that a lost sandbox had must go.
            status |= {"podIP": self.address, "podIPs": [{"$patch": "replace"}, {"ip": self.address}]}
        return status


def _views(containers: Sequence[Container]) -> list[ContainerView]:
    return [ContainerView(c.name, c.state, c.last, c.ready) for c in containers]
