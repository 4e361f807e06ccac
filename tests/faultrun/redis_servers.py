"""Lanes on servers that misbehave as a whole: one that is busy, loading or locked, a replica, Sentinels, a Cluster."""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Any

import redis

from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.runtime.redis import RedisSentinel
from tests.faultrun.redis_lanes import GROUP, Lane, LaneFault, Run, nothing
from tests.faultrun.scene import Sign
from tests.ports import free_port
from tests.redis.cluster import ClusterOfThree
from tests.redis.sentinel import MASTER, SentinelSet
from tests.redis.server import RedisServer
from tests.waiting import until

ADMIN = "admin"
"""A user of the solo server whose commands pass while others are locked out."""
_KEYS = 1500
_MICROSECONDS_A_KEY = 300


class SoloLane(Lane):
    """Alone on its server, which is read without a password."""

    def __init__(self, server: RedisServer, run: Run, rng: random.Random) -> None:
        super().__init__("solo", run, rng)
        self._server = server
        self._busy: asyncio.Task[None] | None = None
        """The command that keeps the server busy."""
        self._enough = asyncio.Event()

    def settings(self) -> RedisSettings:
        return RedisSettings(url=self._server.url, stream=self.name, group=GROUP)

    def faults(self) -> Mapping[str, LaneFault]:
        return {
            "NOAUTH": LaneFault(self._lock, self._unlock),
            "LOADING": LaneFault(self._reload, self._loaded),
            "BUSY": LaneFault(self._spin, self._kill_script),
            "hanging server": LaneFault(self._freeze, self._thaw),
        }

    async def prepare(self) -> None:
        await super().prepare()
        await self._run("DEBUG", "POPULATE", _KEYS)
        for name, value in {
            "key-load-delay": _MICROSECONDS_A_KEY,
            "loading-process-events-interval-bytes": 1024,
            "busy-reply-threshold": 50,
        }.items():
            await self._run("CONFIG", "SET", name, value)

    async def _lock(self) -> None:
        await self._run("CONFIG", "SET", "requirepass", "secret")
        await self._run("CLIENT", "KILL", "USER", "default")

    async def _unlock(self) -> None:
        await self.linger()
        await self._run("CONFIG", "SET", "requirepass", "")

    async def _reload(self) -> None:
        await self._writing.acquire()
        self._busy = asyncio.create_task(self._reload_until(self._enough))

    async def _reload_until(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await self._run("DEBUG", "RELOAD")

    async def _loaded(self) -> None:
        self._enough.set()
        await self._finish_background()
        self._enough.clear()

    async def _spin(self) -> None:
        await self._writing.acquire()
        self._busy = asyncio.create_task(self._spin_until_killed())

    async def _spin_until_killed(self) -> None:
        with contextlib.suppress(redis.ResponseError):
            await self._run("EVAL", "while true do end", 0)

    async def _kill_script(self) -> None:
        await self._run("SCRIPT", "KILL")
        await self._finish_background()

    async def _finish_background(self) -> None:
        assert self._busy is not None
        await self._busy
        self._writing.release()

    async def _freeze(self) -> None:
        await self._writing.acquire()
        self._server.freeze()

    async def _thaw(self) -> None:
        self._server.thaw()
        self._writing.release()


class ReplicaLane(Lane):
    """Written at a master and read at its replica, where no group can be created."""

    def __init__(
        self, master: RedisServer, replica: RedisServer, run: Run, run_replica: Run, rng: random.Random
    ) -> None:
        super().__init__("replica", run, rng)
        self._master = master
        self._replica = replica
        self._run_replica = run_replica

    def settings(self) -> RedisSettings:
        return RedisSettings(url=self._replica.url, stream=self.name, group=GROUP, missing="create")

    def faults(self) -> Mapping[str, LaneFault]:
        return {
            "READONLY": LaneFault(self._forget_group, self._restore_group),
            "replica without its master": LaneFault(self._part, self._join),
        }

    async def prepare(self) -> None:
        await super().prepare()
        await self._settle()

    async def _settle(self) -> None:
        assert await self._run("WAIT", 1, 10_000) == 1

    async def _part(self) -> None:
        await self._writing.acquire()
        await self._run_replica("REPLICAOF", "127.0.0.1", free_port())

    async def _join(self) -> None:
        await self.linger()
        await self._run_replica("REPLICAOF", "127.0.0.1", self._master.port)
        await until(self._is_joined, what="the replica to have its master again")
        self._writing.release()

    async def _is_joined(self) -> bool:
        role = await self._run_replica("ROLE")
        return bool(role[0] == b"slave" and role[3] == b"connected")


class SentinelLane(Lane):
    """On whatever server the Sentinels call the master."""

    def __init__(self, redises: SentinelSet, servers: Mapping[int, Run], rng: random.Random) -> None:
        super().__init__("sentinel", self._on_master, rng)
        self._redises = redises
        self._servers = servers
        self._master = redises.master()

    def settings(self) -> RedisSettings:
        return RedisSettings(
            url=self._redises.url, sentinel=RedisSentinel(master=MASTER), stream=self.name, group=GROUP
        )

    def faults(self) -> Mapping[str, LaneFault]:
        return {"failover": LaneFault(self._fail_over, self._failed_over, Sign.MOVE)}

    async def prepare(self) -> None:
        await super().prepare()
        await self._settle()

    async def _on_master(self, *command: Any) -> Any:
        return await self._servers[self._master.port](*command)

    async def _settle(self) -> None:
        assert await self._run("WAIT", 1, 10_000) == 1

    async def _fail_over(self) -> bool:
        await self._writing.acquire()
        try:
            await asyncio.to_thread(self._redises.fail_over)
        except redis.ResponseError:  # one is under way, or the replica is not yet good enough
            self._writing.release()
            return False
        return True

    async def _failed_over(self) -> None:
        former = self._master

        async def changed() -> bool:
            self._master = await asyncio.to_thread(self._redises.master)
            return self._master is not former

        async def followed() -> bool:
            return bool((await self._servers[former.port]("ROLE"))[0] == b"slave")

        await until(changed, what="the Sentinels to name another master")
        await until(followed, what="the former master to follow")
        await self._settle()
        self._writing.release()


class ClusterLane(Lane):
    """On one of three nodes, found by the slot of its key; slots move."""

    def __init__(
        self,
        name: str,
        cluster: ClusterOfThree,
        servers: Mapping[int, Run],
        rng: random.Random,
        *,
        follows: bool,
        moving: asyncio.Lock,
    ) -> None:
        """One slot of the Cluster at a time is moved, by the lane that holds `moving`."""
        super().__init__(name, self._on_owner, rng)
        self._cluster = cluster
        self._servers = servers
        self._follows = follows
        self._moving = moving
        self._owner = self._home = cluster.owner(name)

    def settings(self) -> RedisSettings:
        if self._follows:
            return RedisSettings(url=self._cluster.url, cluster=True, stream=self.name, group=GROUP)
        return RedisSettings(url=f"redis://127.0.0.1:{self._home.port}", stream=self.name, group=GROUP)

    def faults(self) -> Mapping[str, LaneFault]:
        if self._follows:
            return {
                "MOVED, followed": LaneFault(self._move, nothing, Sign.MOVE),
                "ASK, followed": LaneFault(self._begin_move, self._end_move, Sign.MOVE),
            }
        return {"MOVED": LaneFault(self._move, self._move_home)}

    async def _on_owner(self, *command: Any) -> Any:
        return await self._servers[self._owner.port](*command)

    async def _begin_move(self) -> None:
        others = [each for each in self._cluster.servers if each is not self._owner]
        await self._begin_move_to(self._rng.choice(others))

    async def _begin_move_to(self, target: RedisServer) -> None:
        await self._writing.acquire()
        await self._moving.acquire()
        self._owner = target
        await asyncio.to_thread(self._cluster.begin_move, self.name, target)

    async def _end_move(self) -> None:
        await asyncio.to_thread(self._cluster.end_move, self.name, self._owner)
        self._moving.release()
        self._writing.release()

    async def _move(self) -> None:
        await self._begin_move()
        await self._end_move()

    async def _move_home(self) -> None:
        await self._begin_move_to(self._home)
        await self._end_move()
