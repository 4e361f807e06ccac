"""A whole orchestrator in this process, over a simulated cluster: real gRPC, real HTTP, no Kubernetes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import msgspec

from ottoscaler.orchestrator.config.load import from_text
from ottoscaler.orchestrator.config.model import Root
from ottoscaler.orchestrator.kube_api import Kube, Params
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.orchestrator import Orchestrator
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import (
    LogStreamingServiceStub,
    OttoscalerServiceStub,
)
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from ottoscaler.runtime.kube import KubeError, PatchKind, WatchEvent
from tests.waiting import until

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


def settings(**changes: Any) -> Root:
    """Addresses are free ones; there is no Redis and no handler unless `changes` have them."""
    document: Json = {
        "mock": True,
        "grpc": {"address": "127.0.0.1:0"},
        "http": {"address": "127.0.0.1:0"},
        "lease": {"duration": "3s"},
    }
    for key, value in changes.items():
        known = document.get(key)
        document[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
    return from_text(msgspec.yaml.encode(document), name="test", environ={})


class Calls:
    """An orchestrator that serves, and a client of it."""

    def __init__(self, orchestrator: Orchestrator, channel: grpc.aio.Channel) -> None:
        self.orchestrator = orchestrator
        self.channel = channel
        self.scaling = OttoscalerServiceStub(channel)
        self.logs = LogStreamingServiceStub(channel)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.orchestrator.grpc_port}"

    def metric(self, name: str, **labels: str) -> float:
        return self.orchestrator.telemetry.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(kube: Kube, configuration: Root, *, identity: str = "replica-1") -> AsyncIterator[Calls]:
    """Until the end of the block, as after SIGTERM."""
    orchestrator = Orchestrator(configuration, kube=kube, identity=identity, environ={}, clock=SYSTEM_CLOCK)
    async with orchestrator:
        await orchestrator.index.synced.wait()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.grpc_port}") as channel:
            yield Calls(orchestrator, channel)


@asynccontextmanager
async def mocked(**changes: Any) -> AsyncIterator[tuple[Calls, MockCluster]]:
    """An orchestrator over a cluster whose pods start and stop at once."""
    async with (
        MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster,
        serving(cluster, settings(**changes)) as calls,
    ):
        yield calls, cluster


def workers(cluster: MockCluster) -> list[Worker]:
    """Those that exist."""
    return [read_worker(pod) for pod in cluster.objects.items(PODS)]


async def until_gone(cluster: MockCluster, *, within: float = 30.0) -> None:
    await until(lambda: not workers(cluster), within=within, what="no worker is left")


class Faulty:
    """A cluster whose answers are as `fault` says: None lets the call through."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.fault: Callable[[str, str], KubeError | None] = lambda verb, path: None

    def _check(self, verb: str, path: str) -> None:
        if (error := self.fault(verb, path)) is not None:
            raise error

    async def get(self, path: str, params: Params | None = None) -> Any:
        self._check("get", path)
        return await self._kube.get(path, params)

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        self._check("create", path)
        return await self._kube.create(path, body, params)

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any:
        self._check("replace", path)
        return await self._kube.replace(path, body, params)

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        self._check("patch", path)
        return await self._kube.patch(path, body, kind=kind, params=params)

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        self._check("delete", path)
        return await self._kube.delete(path, body, params)

    def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]:
        return self._kube.watch(path, params)

    def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        return self._kube.stream(path, params)
