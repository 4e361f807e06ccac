"""What a test of the orchestrator on the cluster needs: Redis, a handler, replicas, and evidence.

The evidence does not pass through the orchestrator: every worker appends its name to a file of the node
when its command runs. Two lines of one name are a worker that ran twice, whoever says otherwise.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.orchestrator.handler import Handler
from tests.orchestrator.replica import Replica
from tests.redis.server import RedisServer
from tests.waiting import until

STREAM = "otto:scale:events"
QUICK = "echo $OTTO_WORKER_ID >> /evidence/ran"
"""A worker that ends as soon as it has run."""
Json = dict[str, Any]


def worker_template(directory: Path, script: str) -> Json:
    """A pod template whose workers run `script` in a shell and can write to `/evidence`."""
    return {
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "evidence", "hostPath": {"path": str(directory)}}],
            "containers": [
                {
                    "name": "worker",
                    "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": "evidence", "mountPath": "/evidence"}],
                    "resources": {
                        "limits": {"cpu": "10m", "memory": "16Mi"},
                        "requests": {"cpu": "10m", "memory": "16Mi"},
                    },
                }
            ],
        }
    }


@dataclass(slots=True)
class Scene:
    """Everything around the orchestrator, in one namespace."""

    kube: KubeClient
    namespace: str
    directory: Path
    server: RedisServer
    redis: "redis.asyncio.Redis"
    handler: Handler

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def settings(self, script: str = QUICK, **changes: Any) -> Json:
        """A configuration; `changes` replace or (mappings) extend its blocks."""
        evidence = self.directory / "evidence"
        evidence.mkdir(mode=0o777, exist_ok=True)
        base: Json = {
            "workers": {
                "namespace": self.namespace,
                "image": "busybox",
                "retain": "10s",
                "template": worker_template(evidence, script),
            },
            "events": {"redis": {"url": self.server.url}, "claimIdle": "5s"},
            "handler": {"address": self.handler.address},
            "lease": {"duration": "5s"},
        }
        for key, value in changes.items():
            known = base.get(key)
            base[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
        return base

    def replica(self, settings: Json, name: str = "replica-1") -> Replica:
        return Replica(self.directory, settings, name=name)

    async def send(self, **fields: Any) -> str:
        """XADD; the entry's id."""
        entry: Any = await self.redis.xadd(STREAM, {key: str(value) for key, value in fields.items()})
        return str(entry.decode())

    async def scale_up(self, task: str, count: int, **fields: Any) -> str:
        return await self.send(type="scale_up", task_id=task, pod_count=count, **fields)

    async def scale_down(self, task: str, keep: int) -> str:
        return await self.send(type="scale_down", task_id=task, pod_count=keep)

    async def workers(self) -> list[Worker]:
        """Those that exist now, as the API server says."""
        found = await self.kube.get(self.pods, {"labelSelector": "managed-by=ottoscaler"})
        return [read_worker(pod) for pod in found["items"]]

    def ran(self) -> Counter[str]:
        """How often each worker's command ran, by the workers' own evidence."""
        file = self.directory / "evidence" / "ran"
        return Counter(file.read_text().split()) if file.exists() else Counter()

    async def until_ran(self, count: int, *, within: float = 60.0) -> Counter[str]:
        """Waits for `count` runs."""
        await until(
            lambda: self.ran().total() >= count, within=within, every=0.1, what=f"{count} workers ran"
        )
        return self.ran()

    async def until_gone(self, *, within: float = 60.0) -> None:
        """Waits until no worker exists."""

        async def gone() -> bool:
            try:
                return not await self.workers()
            except KubeError:
                return False  # the API server is being restarted

        await until(gone, within=within, every=0.1, what="no worker is left")

    async def pending(self) -> int:
        """Events that are delivered and not acknowledged."""
        answer: Any = await self.redis.xpending(STREAM, "ottoscaler")
        return int(answer["pending"])

    async def until_settled(self, events: int, *, within: float = 60.0) -> None:
        """Waits until `events` have been read and all are acknowledged."""

        async def settled() -> bool:
            groups: Any = await self.redis.xinfo_groups(STREAM)
            return bool(groups) and groups[0]["entries-read"] >= events and groups[0]["pending"] == 0

        await until(settled, within=within, every=0.1, what=f"{events} events are acknowledged")

    async def dead_letters(self) -> Sequence[dict[str, str]]:
        """The dead letters as people read them."""
        entries: Any = await self.redis.xrange(f"{STREAM}:dead")
        return [{key.decode(): value.decode() for key, value in fields.items()} for _, fields in entries]


@asynccontextmanager
async def scene(kubeconfig: Path, namespace: str) -> AsyncIterator[Scene]:
    """Redis that forgets nothing when it is killed (it writes before it answers), a handler that takes everything."""
    directory = Path(tempfile.mkdtemp(prefix="orchestrator-"))
    directory.chmod(0o755)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        kube = await stack.enter_async_context(await KubeClient.connect(kubeconfig))
        # Not `everysec`: while one fsync takes long, that answers commands before it has written them.
        server = stack.enter_context(RedisServer("--appendonly", "yes", "--appendfsync", "no"))
        client = redis.asyncio.Redis(port=server.port, protocol=2)
        stack.push_async_callback(client.aclose)
        handler = await stack.enter_async_context(Handler())
        yield Scene(kube, namespace, directory, server, client, handler)
