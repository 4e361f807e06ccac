"""Queues inside the cluster, and what a producer and an operator do to them.

Each backend is a pod with a Service; each queue knows how to add jobs, to let the workers finish, to
vanish and to come back, and which part of the adapter's configuration describes it.
"""

import shlex
import time
import uuid
from typing import Any, Protocol

import aiohttp
import redis.asyncio

from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster.addresses import NODE_DISK
from tests.cluster.images import TESTS_IMAGE
from tests.waiting import until

INTERVAL_SECONDS = 1
MAX_AGE_SECONDS = 12


class LiveQueue(Protocol):
    """A queue with its backend, as a test handles it."""

    name: str

    @property
    def configuration(self) -> dict[str, Any]:
        """The entry in the adapter's `queues`."""
        ...

    @property
    def worker_arguments(self) -> list[str]:
        """The command of the pods that work it."""
        ...

    async def start(self) -> None:
        """Starts the backend and waits until it answers."""
        ...

    async def stop(self) -> None:
        """Takes the backend away at once, as a crash would."""
        ...

    async def restore(self) -> None:
        """Brings the backend back with the data it had."""
        ...

    async def add(self, jobs: int) -> None:
        """A producer adds jobs."""
        ...

    async def finish_all(self) -> None:
        """Opens the gate: every job in work, and every later one, ends at once."""
        ...


DATA = "/data"


async def run_backend(kube: KubeClient, namespace: str, name: str, *, command: list[str], port: int) -> str:
    """A pod and its Service; the Service's address once the pod is ready.

    What the backend writes to `DATA` outlives the pod, as a database's disk does.
    """
    labels = {"backend": name}
    pod = {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": [
                {
                    "name": "data",
                    "hostPath": {
                        "path": f"{NODE_DISK}/{namespace}/{name}",
                        "type": "DirectoryOrCreate",
                    },
                }
            ],
            "containers": [
                {
                    "name": "backend",
                    "image": TESTS_IMAGE,
                    "command": command,
                    "volumeMounts": [{"name": "data", "mountPath": DATA}],
                    "ports": [{"containerPort": port}],
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                }
            ],
        },
    }
    service = {
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port}]},
    }
    await kube.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    try:
        made = await kube.create(f"/api/v1/namespaces/{namespace}/services", service)
    except KubeError as error:
        if error.reason != "AlreadyExists":
            raise
        made = await kube.get(f"/api/v1/namespaces/{namespace}/services/{name}")

    async def ready() -> bool:
        seen = await kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        conditions = seen["status"].get("conditions", ())
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    await until(ready, what=f"backend {name} is ready")
    return str(made["spec"]["clusterIP"])


async def remove_pod(kube: KubeClient, namespace: str, name: str) -> None:
    """Kills a pod without grace and waits until it is gone."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    await kube.delete(path, params={"gracePeriodSeconds": "0"})

    async def gone() -> bool:
        try:
            await kube.get(path)
        except KubeError as error:
            return error.status == 404
        return False

    await until(gone, what=f"pod {name} is gone")


class RedisQueue:
    """One stream with one consumer group on a real Redis."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.name = "scale-events"
        self._kube = kube
        self._namespace = namespace
        self._address = ""
        self._stream = "otto:jobs"
        self._group = "workers"

    @property
    def _url(self) -> str:
        return f"redis://redis.{self._namespace}.svc.cluster.local:6379/0"

    @property
    def url_by_address(self) -> str:
        """For who cannot resolve the cluster's names."""
        return f"redis://{self._address}:6379/0"

    @property
    def configuration(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "interval": f"{INTERVAL_SECONDS}s",
            "maxAge": f"{MAX_AGE_SECONDS}s",
            "redis": {"url": self._url, "stream": self._stream, "group": self._group},
        }

    @property
    def worker_arguments(self) -> list[str]:
        return ["-m", "tests.workloads.redis_generator", self._url, self._stream, self._group]

    def _client(self) -> "redis.asyncio.Redis":
        return redis.asyncio.Redis(host=self._address, protocol=2, socket_timeout=5)

    async def _run(self) -> None:
        options = "--save '' --appendonly yes --appendfsync always --protected-mode no --dir"
        self._address = await run_backend(
            self._kube,
            self._namespace,
            "redis",
            command=["redis-server", *shlex.split(options), DATA],
            port=6379,
        )

    async def start(self) -> None:
        await self._run()
        async with self._client() as client:
            await until(client.ping, what="redis answers through its Service")
            await client.xgroup_create(self._stream, self._group, id="0", mkstream=True)

    async def stop(self) -> None:
        await remove_pod(self._kube, self._namespace, "redis")

    async def restore(self) -> None:
        await self._run()

    async def add(self, jobs: int) -> None:
        async with self._client() as client:
            for _ in range(jobs):
                await client.xadd(self._stream, {"job": str(uuid.uuid4())})

    async def finish_all(self) -> None:
        async with self._client() as client:
            await client.set(f"gate:{self._stream}", "open")


class FirebaseQueue:
    """The job queue of a Realtime Database, served by the protocol's test server."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self.name = "generator"
        self._kube = kube
        self._namespace = namespace
        self._address = ""
        self._queue = "eventstorming_generator"

    @property
    def _host(self) -> str:
        return f"rtdb.{self._namespace}.svc.cluster.local:9000"

    @property
    def configuration(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "interval": f"{INTERVAL_SECONDS}s",
            "maxAge": f"{MAX_AGE_SECONDS}s",
            "firebase": {
                "databaseURL": f"http://{self._host}/?ns=demo",
                "path": f"requestedJobs/{self._queue}",
            },
        }

    @property
    def worker_arguments(self) -> list[str]:
        return ["-m", "tests.workloads.firebase_generator", f"http://{self._host}", self._queue]

    async def _write(self, method: str, path: str, body: Any) -> None:
        url = f"http://{self._address}:9000/{path}.json"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.request(method, url, json=body, params={"ns": "demo", "print": "silent"}) as answer,
        ):
            answer.raise_for_status()

    async def _run(self) -> None:
        self._address = await run_backend(
            self._kube,
            self._namespace,
            "rtdb",
            command=[
                "python3",
                "-m",
                "tests.rtdb",
                "--host",
                "0.0.0.0",
                "--data",
                f"{DATA}/rtdb.json",
                "9000",
            ],
            port=9000,
        )

    async def start(self) -> None:
        await self._run()

    async def stop(self) -> None:
        await remove_pod(self._kube, self._namespace, "rtdb")

    async def restore(self) -> None:
        await self._run()

    async def add(self, jobs: int) -> None:
        for _ in range(jobs):
            job = {"createdAt": int(time.time() * 1000), "status": "pending", "inputs": {"text": "x" * 200}}
            await self._write("PUT", f"requestedJobs/{self._queue}/{uuid.uuid4()}", job)

    async def finish_all(self) -> None:
        await self._write("PUT", f"gates/{self._queue}", True)


KINDS: dict[str, type[FirebaseQueue] | type[RedisQueue]] = {
    "firebase": FirebaseQueue,
    "redis": RedisQueue,
}
