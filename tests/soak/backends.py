"""The backends of a soak: real ones behind proxies that break connections, changed all the while.

Each keeps its number of jobs within bounds, so that whatever grows is the adapter's. Each knows what is true
of its queues, so that a run ends with a comparison.
"""

import contextlib
import os
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import redis.asyncio
from aiohttp import web
from google.cloud.firestore import AsyncClient

from tests.component.prometheus.server import process as prometheus_process
from tests.faults.proxy import FaultProxy
from tests.firestore.emulator import HOW_TO_GET_IT, jar
from tests.firestore.emulator import running as firestore_emulator
from tests.ports import free_port
from tests.redis.server import RedisServer
from tests.rtdb import RtdbServer

STREAMS, LISTS = 20, 4
_GROUP = "workers"
_MOST = 30
"""Jobs of a queue."""


class Backend(Protocol):
    """A server with queues in it."""

    proxy: FaultProxy

    def queues(self) -> list[dict[str, Any]]:
        """As the configuration has them."""
        ...

    async def change(self) -> None:
        """What a producer or a worker does next."""
        ...

    def waiting(self) -> Mapping[str, int]:
        """The truth, by queue."""
        ...


def _job(rng: random.Random) -> dict[str, Any]:
    now = time.time()
    if rng.random() < 0.5:
        return {"createdAt": now * 1000, "status": "pending"}
    return {
        "createdAt": now * 1000,
        "status": "processing",
        "assignedPodId": f"pod-{rng.randrange(5)}",
        "lastHeartbeat": now,
    }


class RtdbQueues:
    """Two queues of one Realtime Database: one followed, one polled."""

    _MODES = ("stream", "poll")

    def __init__(self, server: RtdbServer, proxy: FaultProxy, rng: random.Random) -> None:
        self.proxy = proxy
        self._server = server
        self._rng = rng
        self._jobs: dict[str, dict[str, Any]] = {mode: {} for mode in self._MODES}

    def queues(self) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.proxy.port}/?ns=demo"
        return [
            {
                "name": f"rtdb-{mode}",
                "interval": "5s",
                "firebase": {"databaseURL": url, "path": f"requestedJobs/{mode}", "mode": mode},
            }
            for mode in self._MODES
        ]

    async def change(self) -> None:
        self._server.log.clear()  # it keeps every request, for tests that look at them
        for mode, jobs in self._jobs.items():
            if len(jobs) < _MOST and self._rng.random() < 0.6:
                name = str(uuid.UUID(int=self._rng.getrandbits(128)))
                jobs[name] = _job(self._rng)
                self._server.write(f"requestedJobs/{mode}/{name}", jobs[name])
            elif jobs:
                name = self._rng.choice(list(jobs))
                del jobs[name]
                self._server.write(f"requestedJobs/{mode}/{name}", None)

    def waiting(self) -> Mapping[str, int]:
        return {
            f"rtdb-{mode}": sum("assignedPodId" not in job for job in jobs.values())
            for mode, jobs in self._jobs.items()
        }


class RedisQueues:
    """Streams that are consumed and trimmed, and lists."""

    def __init__(self, client: "redis.asyncio.Redis", proxy: FaultProxy, rng: random.Random) -> None:
        self.proxy = proxy
        self._client: Any = client
        self._rng = rng
        self._undelivered = dict.fromkeys((f"stream-{number}" for number in range(STREAMS)), 0)
        self._lists = dict.fromkeys((f"list-{number}" for number in range(LISTS)), 0)

    async def begin(self) -> None:
        for key in self._undelivered:
            await self._client.xgroup_create(key, _GROUP, "0", mkstream=True)

    def queues(self) -> list[dict[str, Any]]:
        url = f"redis://127.0.0.1:{self.proxy.port}/0"
        streams = [
            {"name": key, "redis": {"url": url, "stream": key, "group": _GROUP}} for key in self._undelivered
        ]
        lists = [
            {"name": key, "redis": {"url": url, "lists": {"waiting": [key], "processing": [f"{key}:active"]}}}
            for key in self._lists
        ]
        return [{"interval": "2s", **queue} for queue in streams + lists]

    async def change(self) -> None:
        for key in self._rng.sample(list(self._undelivered), 4):
            await self._change_stream(key)
        key = self._rng.choice(list(self._lists))
        if self._lists[key] < _MOST and self._rng.random() < 0.6:
            await self._client.lpush(key, "a job")
            self._lists[key] += 1
        elif self._lists[key]:
            await self._client.rpop(key)
            self._lists[key] -= 1

    async def _change_stream(self, key: str) -> None:
        if self._undelivered[key] < _MOST and self._rng.random() < 0.6:
            await self._client.xadd(key, {"type": "scale_up", "pod_count": 1})
            self._undelivered[key] += 1
        elif self._undelivered[key]:
            for _, entries in await self._client.xreadgroup(_GROUP, "worker", {key: ">"}, count=1):
                await self._client.xack(key, _GROUP, entries[0][0])
                self._undelivered[key] -= 1
        else:
            await self._client.xtrim(key, maxlen=0, approximate=False)  # nothing of it is undelivered

    def waiting(self) -> Mapping[str, int]:
        return {**self._undelivered, **self._lists}


class FirestoreQueues:
    """One collection."""

    _COLLECTION = "requestedJobs"

    def __init__(self, client: AsyncClient, proxy: FaultProxy, rng: random.Random) -> None:
        self.proxy = proxy
        self._client = client
        self._rng = rng
        self._jobs: dict[str, dict[str, Any]] = {}

    def queues(self) -> list[dict[str, Any]]:
        block = {"project": "soak", "collection": self._COLLECTION}
        return [{"name": "firestore", "interval": "10s", "firestore": block}]

    async def change(self) -> None:
        if self._rng.random() < 0.8:
            return  # it is slow
        if len(self._jobs) < _MOST and self._rng.random() < 0.6:
            name = str(uuid.UUID(int=self._rng.getrandbits(128)))
            self._jobs[name] = _job(self._rng)
            await self._document(name).set(self._jobs[name], timeout=60, retry=None)
        elif self._jobs:
            name = self._rng.choice(list(self._jobs))
            del self._jobs[name]
            await self._document(name).delete(timeout=60, retry=None)

    def _document(self, name: str) -> Any:
        return self._client.collection(self._COLLECTION).document(name)

    def waiting(self) -> Mapping[str, int]:
        return {"firestore": sum("assignedPodId" not in job for job in self._jobs.values())}


class PrometheusQueues:
    """One queue by scraped samples, and one by an expression that needs none."""

    def __init__(self, port: int, page: "Page", rng: random.Random) -> None:
        self.proxy = FaultProxy("127.0.0.1", port, seed=rng.getrandbits(32))
        self._page = page
        self._rng = rng

    def queues(self) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.proxy.port}"
        queries = {"prometheus-now": "vector(7)", "prometheus": "jobs_waiting"}
        return [
            {"name": name, "interval": "5s", "prometheus": {"url": url, "waiting": query}}
            for name, query in queries.items()
        ]

    async def change(self) -> None:
        self._page.jobs = self._rng.randrange(_MOST)

    def waiting(self) -> Mapping[str, int]:
        return {"prometheus-now": 7, "prometheus": self._page.jobs}


class Page:
    """What the exporter shows."""

    def __init__(self) -> None:
        self.jobs = 0

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(
            text=f"jobs_waiting {self.jobs}\n", headers={"Content-Type": "text/plain; version=0.0.4"}
        )


@asynccontextmanager
async def backends(rng: random.Random, *, compressed: bool = False) -> AsyncIterator[list[Backend]]:
    """All of them, running; all but Prometheus in compressed time, since a Prometheus whose clock differs from
    ours is not believed.

    The environment names the Firestore emulator's proxy meanwhile. Raises `RuntimeError` without an emulator.
    """
    file = jar()
    if file is None:
        raise RuntimeError(HOW_TO_GET_IT)
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(RtdbServer())
        server = stack.enter_context(RedisServer())
        client = await stack.enter_async_context(
            redis.asyncio.Redis(
                host="127.0.0.1",
                port=server.port,
                protocol=2,
                socket_connect_timeout=3600,
                socket_timeout=3600,
            )
        )
        emulator = await stack.enter_async_context(firestore_emulator(file))
        page, port = Page(), free_port()
        exporter = await _serve(page, stack)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        await stack.enter_async_context(prometheus_process(directory, port, exporter))

        def before(port: int) -> FaultProxy:
            return FaultProxy("127.0.0.1", port, seed=rng.getrandbits(32))

        streams = RedisQueues(client, before(server.port), rng)
        await streams.begin()
        documents = await _firestore(emulator.address, stack)
        found: list[Backend] = [
            RtdbQueues(database, before(database.port), rng),
            streams,
            FirestoreQueues(documents, before(emulator.port), rng),
        ]
        if not compressed:
            found.append(PrometheusQueues(port, page, rng))
        for backend in found:
            await stack.enter_async_context(backend.proxy)
        stack.enter_context(_variable("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{found[2].proxy.port}"))
        yield found


async def _firestore(address: str, stack: contextlib.AsyncExitStack) -> AsyncClient:
    """A client that goes around the proxy."""
    with _variable("FIRESTORE_EMULATOR_HOST", address):
        client = AsyncClient(project="soak")
        await (
            client.collection("none").document("none").get(timeout=60, retry=None)
        )  # the channel is made now
    stack.push_async_callback(client._firestore_api.transport.close)
    return client


async def _serve(page: Page, stack: contextlib.AsyncExitStack) -> str:
    """Starts the exporter; its `host:port`."""
    application = web.Application()
    application.router.add_get("/metrics", page.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return f"{host}:{port}"


@contextlib.contextmanager
def _variable(name: str, value: str) -> Any:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
