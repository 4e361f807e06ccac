"""Pods for tests of the node: made in one line, waited for by what they show."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ottoscaler.runtime.kube import KubeClient, KubeError, WatchEvent
from tests.waiting import until

Json = dict[str, Any]


class Pods:
    """The pods of one namespace."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.kube = kube
        self.namespace = namespace
        self.path = f"/api/v1/namespaces/{namespace}/pods"

    async def run(
        self, name: str, script: str, *, python: bool = False, container: Json | None = None, **spec: Any
    ) -> Json:
        """Creates a pod of one container `main` that runs `script`, in a shell or in Python.

        `container` and `spec` are merged over what is usual; it is never restarted unless `spec` says so.
        """
        image, command = (
            ("python", ["python3", "-c", script]) if python else ("busybox", ["sh", "-c", script])
        )
        main: Json = {"name": "main", "image": image, "command": command} | (container or {})
        return await self.create(name, {"restartPolicy": "Never", "containers": [main]} | spec)

    async def create(self, name: str, spec: Json, **metadata: Any) -> Json:
        body = {"metadata": {"name": name} | metadata, "spec": spec}
        created: Json = await self.kube.create(self.path, body)
        return created

    async def get(self, name: str) -> Json | None:
        """The pod; None when there is none."""
        try:
            found: Json = await self.kube.get(f"{self.path}/{name}")
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def until(
        self, name: str, condition: Callable[[Json], Any], *, what: str, within: float = 30.0
    ) -> Json:
        """The pod, once `condition` holds for it."""

        async def holds() -> Json | None:
            pod = await self.get(name)
            assert pod is not None, f"pod {name} is gone, before {what}"
            return pod if condition(pod) else None

        result: Json = await until(holds, within=within, what=f"pod {name}: {what}")
        return result

    async def until_phase(self, name: str, phase: str, *, within: float = 30.0) -> Json:
        return await self.until(
            name, lambda pod: pod["status"].get("phase") == phase, what=f"phase {phase}", within=within
        )

    async def until_ready(self, name: str) -> Json:
        return await self.until(name, lambda pod: condition(pod, "Ready") == "True", what="is ready")

    async def until_gone(self, name: str, *, within: float = 30.0) -> None:
        async def gone() -> bool:
            return await self.get(name) is None

        await until(gone, within=within, what=f"pod {name} is gone")

    async def delete(self, name: str, *, grace: int | None = None) -> None:
        body = {} if grace is None else {"gracePeriodSeconds": grace}
        await self.kube.delete(f"{self.path}/{name}", body)

    async def log(self, name: str, **options: str) -> str:
        """What `kubectl logs` prints."""
        pieces = [piece async for piece in self.kube.stream(f"{self.path}/{name}/log", options)]
        return b"".join(pieces).decode()

    async def output(self, name: str) -> str:
        """The log of a pod that has ended; its exit code must be 0."""
        pod = await self.until(
            name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"), what="has ended"
        )
        text = await self.log(name)
        assert pod["status"]["phase"] == "Succeeded", f"{pod['status']}\n{text}"
        return text

    async def until_logged(self, name: str, text: str, **options: str) -> str:
        """The log, once `text` is in it."""

        async def logged() -> str:
            try:
                log = await self.log(name, **options)
            except KubeError as error:
                if error.status == 400:  # not started yet
                    return ""
                raise
            return log if text in log else ""

        result: str = await until(logged, what=f"pod {name} logs {text!r}", every=0.05)
        return result

    @asynccontextmanager
    async def watching(self, name: str) -> AsyncIterator[list[WatchEvent]]:
        """What a watch of the pod has seen so far."""
        seen: list[WatchEvent] = []
        listed = asyncio.Event()

        async def collect() -> None:
            async for event in self.kube.watch(self.path, {"fieldSelector": f"metadata.name={name}"}):
                if event.type == "SYNC":
                    listed.set()
                else:
                    seen.append(event)

        async with asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(collect())
            await listed.wait()
            yield seen
            collecting.cancel()

    async def create_object(self, plural: str, name: str, **content: Any) -> None:
        """A ConfigMap, Secret or Service of the namespace."""
        await self.kube.create(
            f"/api/v1/namespaces/{self.namespace}/{plural}", {"metadata": {"name": name}} | content
        )


def main_status(pod: Json) -> Json:
    """The status of the container `main`, `{}` before there is one."""
    statuses: list[Json] = pod["status"].get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == "main"), {})


def condition(pod: Json, kind: str) -> str | None:
    conditions: list[Json] = pod["status"].get("conditions") or []
    return next((each["status"] for each in conditions if each["type"] == kind), None)


@asynccontextmanager
async def pods_in(kubeconfig: Path, namespace: str) -> AsyncIterator[Pods]:
    """The administrator's view of the namespace's pods."""
    async with await KubeClient.connect(kubeconfig) as kube:
        yield Pods(kube, namespace)
