"""A Redis Cluster of three masters on loopback, whose slots can be moved."""

import time
from types import TracebackType
from typing import Any, Self

import redis
from redis.crc import key_slot

from tests.redis.server import RedisServer

_SLOTS = 16384


class ClusterOfThree:
    """`with ClusterOfThree() as cluster:`; `owner(key)` is the server that has a key now."""

    def __init__(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
        tolerant = ("--cluster-require-full-coverage", "no")
        self.servers = tuple(RedisServer(*options, *tolerant) for _ in range(3))
        self._ids: list[str] = []

    @property
    def url(self) -> str:
        return "redis://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def client(self) -> "redis.RedisCluster":
        """A client of the library that finds the nodes by itself."""
        return redis.RedisCluster(host="127.0.0.1", port=self.servers[0].port, protocol=2)

    def owner(self, key: str) -> RedisServer:
        port = self._owner_as_seen_by(self.servers[0], key_slot(key.encode()))
        return next(server for server in self.servers if server.port == port)

    def key_on(self, server: RedisServer, prefix: str) -> str:
        """A key that lives on `server`."""
        names = (f"{prefix}:{number}" for number in range(1000))
        return next(name for name in names if self.owner(name) is server)

    def begin_move(self, key: str, target: RedisServer) -> None:
        """The slot of `key` begins to move; the key itself is at the target already (ASK)."""
        source, slot = self.owner(key), key_slot(key.encode())
        self._run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        self._run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(target))
        self._run(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5000)

    def end_move(self, key: str, target: RedisServer) -> None:
        """The slot belongs to `target` (MOVED)."""
        slot = key_slot(key.encode())
        for server in (target, *(each for each in self.servers if each is not target)):
            self._run(server, "CLUSTER", "SETSLOT", slot, "NODE", self._id(target))
        self._run(target, "CLUSTER", "BUMPEPOCH")  # or gossip of before may give the slot back
        deadline = time.monotonic() + 20.0
        while not all(self._owner_as_seen_by(server, slot) == target.port for server in self.servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes of the Cluster do not agree who has a slot")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        for number, server in enumerate(self.servers):
            server.start()
            first, last = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            self._run(server, "CLUSTER", "ADDSLOTSRANGE", first, last)
            self._run(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._ids = [self._run(server, "CLUSTER", "MYID").decode() for server in self.servers]
        for server in self.servers[1:]:
            self._run(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", server.port)
        deadline = time.monotonic() + 20.0
        while not all(self._knows_all(server) for server in self.servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the nodes of the Cluster did not find each other")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.__exit__(kind, error, trace)

    def _owner_as_seen_by(self, server: RedisServer, slot: int) -> int:
        slots = self._run(server, "CLUSTER", "SLOTS")
        return next((int(row[2][1]) for row in slots if row[0] <= slot <= row[1]), 0)

    def _id(self, server: RedisServer) -> str:
        return self._ids[self.servers.index(server)]

    def _knows_all(self, server: RedisServer) -> bool:
        state = self._run(server, "CLUSTER", "INFO").decode()
        return "cluster_state:ok" in state and len(self._run(server, "CLUSTER", "SLOTS")) == 3

    @staticmethod
    def _run(server: RedisServer, *arguments: Any) -> Any:
        with server.commands() as client:
            untyped: Any = client
            untyped.response_callbacks.clear()
            return untyped.execute_command(*arguments)
