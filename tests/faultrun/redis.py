"""The faults of Redis: in the network, of users and keys, of servers, replicas, Sentinels and Clusters, of clocks."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import redis.asyncio

from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.runtime.values import Duration
from tests.faultrun.campaign import configuration
from tests.faultrun.clock import JumpingClock, Span
from tests.faultrun.redis_lanes import Lane, ProxiedLane, Run
from tests.faultrun.redis_servers import ADMIN, ClusterLane, ReplicaLane, SentinelLane, SoloLane
from tests.faultrun.scene import Sign, Terms
from tests.faultrun.truth import TruthLog
from tests.faults.proxy import FaultProxy
from tests.redis.cluster import ClusterOfThree
from tests.redis.sentinel import SentinelSet
from tests.redis.server import RedisServer

_INTERVAL = 0.1
_TIMEOUT = 0.5
_MAX_AGE = 3.0
_BACK_OFF = 1.0
"""The supervisor's longest for sources that are read more often than that."""
_SKEWS = (-7200.0, -60.0, -3.0, 0.0, 3.0, 60.0, 7200.0)
_PROXIED = 10


class RedisScene:
    """Lanes, each a queue."""

    def __init__(self, lanes: Sequence[Lane], rng: random.Random) -> None:
        self.clock = JumpingClock()
        self.common = frozenset({"clock jump"})
        self.terms = Terms(max_age=_MAX_AGE, back_off=_BACK_OFF, reading=_TIMEOUT)
        self.truths: Mapping[str, TruthLog] = {lane.name: lane.truth for lane in lanes}
        self._lanes = {lane.name: lane for lane in lanes}
        self._faults = {lane.name: lane.faults() for lane in lanes}
        self._signs = {kind: fault.sign for faults in self._faults.values() for kind, fault in faults.items()}
        self._rng = rng

    def config(self) -> Config:
        queues = [
            QueueConfig(
                options=QueueOptions(name=name, max_age=Duration(_MAX_AGE), timeout=Duration(_TIMEOUT)),
                block="redis",
                settings=lane.settings(),
                kind="redis-stream",
                interval=_INTERVAL,
            )
            for name, lane in self._lanes.items()
        ]
        return configuration(queues, redis=BACKEND)

    def kinds(self, queue: str) -> Sequence[str]:
        faults = (*self._faults[queue],)
        return (*faults, "clock jump") if isinstance(self._lanes[queue], ProxiedLane) else faults

    def sign(self, kind: str) -> Sign:
        return self._signs.get(kind, Sign.CLOCK)

    def spans(self, start: float, end: float) -> Iterator[Span]:
        return self.clock.spans(start, end)

    async def write(self, queue: str) -> None:
        await self._lanes[queue].write()

    async def inflict(self, kind: str, queue: str) -> bool:
        if kind == "clock jump":
            self.clock.jump(self._rng.choice([skew for skew in _SKEWS if skew != self.clock.skew]))
            return True
        return await self._faults[queue][kind].begin() is not False

    def has_begun(self, kind: str, queue: str) -> bool:
        return True  # what is inflicted lasts until it is seen

    async def relieve(self, kind: str, queue: str) -> None:
        if kind != "clock jump":
            await self._faults[queue][kind].end()


class _Process(Protocol):
    def __enter__(self) -> Any: ...

    def __exit__(self, kind: None, error: None, trace: None) -> None: ...


@asynccontextmanager
async def _started(*processes: _Process) -> AsyncIterator[None]:
    """All of them, side by side, until left."""
    try:
        await asyncio.gather(*(asyncio.to_thread(each.__enter__) for each in processes))
        yield
    finally:
        for each in processes:
            each.__exit__(None, None, None)


@asynccontextmanager
async def redis_scene(*, seed: int) -> AsyncIterator[RedisScene]:
    """All servers, and a lane for whatever can happen to one of them."""
    rng = random.Random(f"{seed} scene")
    main, solo, master = RedisServer(), RedisServer(), RedisServer()
    replica = RedisServer("--replicaof", "127.0.0.1", str(master.port))
    redises, cluster = SentinelSet(), ClusterOfThree()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_started(main, solo, master, replica, redises, cluster))

        async def runs(server: RedisServer, user: str | None = None) -> Run:
            client: Any = redis.asyncio.Redis(
                host="127.0.0.1", port=server.port, protocol=2, username=user, password=user
            )
            client.response_callbacks.clear()
            stack.push_async_callback(client.aclose)
            run: Run = client.execute_command
            return run

        await (await runs(solo))("ACL", "SETUSER", ADMIN, "on", f">{ADMIN}", "~*", "&*", "+@all")
        nodes = {each.port: await runs(each) for each in (*redises.servers, *cluster.servers)}
        moving = asyncio.Lock()
        lanes: list[Lane] = [
            SoloLane(solo, await runs(solo, ADMIN), rng),
            ReplicaLane(master, replica, await runs(master), await runs(replica), rng),
            SentinelLane(redises, nodes, rng),
            ClusterLane("cluster", cluster, nodes, rng, follows=True, moving=moving),
            ClusterLane("one-node", cluster, nodes, rng, follows=False, moving=moving),
        ]
        for number in range(_PROXIED):
            proxy = FaultProxy("127.0.0.1", main.port, seed=rng.randrange(1 << 30))
            await stack.enter_async_context(proxy)
            lanes.append(ProxiedLane(f"lane-{number}", await runs(main), rng, proxy))
        for lane in lanes:
            await lane.prepare()
        yield RedisScene(lanes, rng)
