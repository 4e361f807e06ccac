"""Which server answers for which key, now.

A single server answers for all. Behind Sentinel it is the master, and Sentinel is asked again before each
tick, since a connection to a former master may stay open and answer with old numbers. In a Cluster each
master answers for some of 16384 slots, and the map is fetched again whenever a node says that it is wrong.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import ResponseError

from ottoscaler.adapter.sources.redis.node import Node, call
from ottoscaler.adapter.sources.redis.pipeline import out_of_step
from ottoscaler.adapter.sources.redis.problems import Problem, ServerProblem, of_queue
from ottoscaler.runtime import redis_client
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.redis import DEFAULT_SENTINEL_PORT, Address, RedisConnection

_UNCONFIRMED = 30.0
"""Seconds that a master is believed in while no Sentinel can be asked."""
_SLOTS = 16384
_SHARE = 3
"""Of the time that is left, a node of a Cluster may use one part in so many, while others have not been asked."""


class Topology(Protocol):
    """The servers behind one configured connection."""

    must_be_master: bool
    """Whether a replica's answers do not count."""
    nodes_fail_alone: bool
    """Whether the others go on when one server cannot be used."""

    async def refresh(self) -> None:
        """Learns who serves what, where that can have changed. Raises `ServerProblem`."""
        ...

    def node(self, key: bytes) -> Node:
        """Who answers for a key. Raises `ServerProblem` when nobody does."""
        ...

    def at(self, address: Address) -> Node:
        """The node at an address that another node named."""
        ...

    def doubt(self) -> None:
        """What is known of the servers turned out wrong: learn it anew at the next `refresh`."""
        ...

    async def close(self) -> None:
        """Ends all connections."""
        ...


def open_topology(
    settings: RedisConnection, *, environ: Mapping[str, str], clock: Clock, connect_timeout: float
) -> Topology:
    """The topology that the settings describe; nothing is connected yet."""

    def make(address: Address) -> Connection:
        return redis_client.connection(settings, address, environ=environ, connect_timeout=connect_timeout)

    if settings.cluster:
        return _Cluster(settings.parsed.addresses(), make, timeout=connect_timeout)
    if settings.sentinel is not None:

        def make_sentinel(address: Address) -> Connection:
            return redis_client.sentinel_connection(
                settings, address, environ=environ, connect_timeout=connect_timeout
            )

        addresses = settings.parsed.addresses(default_port=DEFAULT_SENTINEL_PORT)
        sentinels = [Node(address, make_sentinel) for address in addresses]
        return _Sentinel(sentinels, settings.sentinel.master, make, clock, timeout=connect_timeout)
    (address,) = settings.parsed.addresses()
    return _Single(Node(address, make))


class _Single:
    must_be_master = False
    nodes_fail_alone = False

    def __init__(self, node: Node) -> None:
        self._node = node

    async def refresh(self) -> None:
        pass

    def node(self, key: bytes) -> Node:
        return self._node

    def at(self, address: Address) -> Node:
        raise ServerProblem(Problem("error", "only a Redis Cluster has other nodes"))

    def doubt(self) -> None:
        pass

    async def close(self) -> None:
        await self._node.close()


class _Sentinel:
    """Follows "Guidelines for Redis clients with support for Redis Sentinel" of the Redis documentation."""

    must_be_master = True
    nodes_fail_alone = False

    def __init__(
        self,
        sentinels: list[Node],
        master: str,
        make: Callable[[Address], Connection],
        clock: Clock,
        *,
        timeout: float,
    ) -> None:
        self._sentinels = sentinels
        self._master = master
        self._make = make
        self._clock = clock
        self._timeout = timeout / len(sentinels)
        """So that one that hangs leaves time for the others."""
        self._node: Node | None = None
        self._confirmed = 0.0

    async def refresh(self) -> None:
        failed: ServerProblem | None = None
        for sentinel in list(self._sentinels):
            try:
                address = await self._ask(sentinel)
            except ServerProblem as problem:
                failed = failed or problem
                await sentinel.close()
                self._sentinels.remove(sentinel)
                self._sentinels.append(sentinel)  # asked last the next time
                continue
            self._confirmed = self._clock.monotonic()
            if self._node is None or self._node.address != address:
                if self._node is not None:
                    await self._node.close()
                self._node = Node(address, self._make)
            return
        if failed and (self._node is None or self._clock.monotonic() - self._confirmed > _UNCONFIRMED):
            raise failed

    async def _ask(self, sentinel: Node) -> Address:
        try:
            async with asyncio.timeout(self._timeout):
                reply = await call(
                    await sentinel.connection(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master
                )
        except ResponseError as error:
            problem = of_queue(error)
            raise ServerProblem(problem._replace(reason=f"Sentinel: {problem.reason}")) from error
        except TimeoutError as error:
            raise ServerProblem(Problem("unreachable", "no Sentinel answers in time")) from error
        except ServerProblem as error:
            raise ServerProblem(error.problem._replace(reason=f"Sentinel: {error.problem.reason}")) from error
        match reply:
            case [bytes() as host, bytes() as port] if port.isdigit():
                return Address(host.decode(errors="replace"), int(port))
            case None:
                raise ServerProblem(Problem("missing", "no Sentinel knows a Redis master of that name"))
        raise ServerProblem(out_of_step("no address of a master"))

    def node(self, key: bytes) -> Node:
        if self._node is None:
            raise ServerProblem(Problem("unreachable", "no Sentinel was asked yet"))
        return self._node

    def at(self, address: Address) -> Node:
        raise ServerProblem(Problem("error", "only a Redis Cluster has other nodes"))

    def doubt(self) -> None:
        pass

    async def close(self) -> None:
        if self._node is not None:
            await self._node.close()
        for sentinel in self._sentinels:
            await sentinel.close()


class _Cluster:
    must_be_master = False  # a replica redirects by itself
    nodes_fail_alone = True

    def __init__(
        self, seeds: Iterable[Address], make: Callable[[Address], Connection], *, timeout: float
    ) -> None:
        self._seeds = tuple(seeds)
        self._make = make
        self._timeout = timeout
        self._nodes: dict[Address, Node] = {}
        self._starts: list[int] = []
        """First slots of ranges, ascending; with the last slot and the node of each."""
        self._ranges: list[tuple[int, Node]] = []
        self._known = False

    async def refresh(self) -> None:
        if self._known:
            return
        failed: ServerProblem | None = None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        addresses = [*self._nodes, *(seed for seed in self._seeds if seed not in self._nodes)]
        for number, address in enumerate(addresses):
            node = self.at(address)
            # one that hangs leaves time for the others, and those have more of it than of an equal share
            share = (deadline - loop.time()) / min(_SHARE, len(addresses) - number)
            try:
                rows = await self._ask(node, timeout=share)
            except ServerProblem as problem:
                failed = problem
                await node.close()
                self._nodes[address] = self._nodes.pop(address)  # asked last the next time
                continue
            self._learn(rows, address)
            await self._forget_strangers()
            return
        raise failed or ServerProblem(Problem("unreachable", "no node of the Redis Cluster is known"))

    async def _ask(self, node: Node, *, timeout: float) -> list[tuple[int, int, Address]]:
        """The map as a node knows it. Raises `ServerProblem`, also when it knows of none (it was reset)."""
        try:
            async with asyncio.timeout(timeout):
                rows = await _cluster_slots(await node.connection())
        except TimeoutError as error:
            raise ServerProblem(
                Problem("unreachable", "no node of the Redis Cluster answers in time")
            ) from error
        if not rows:
            raise ServerProblem(Problem("unreachable", "no node of the Redis Cluster serves any slot"))
        return rows

    def node(self, key: bytes) -> Node:
        slot = key_slot(key)
        at = bisect_right(self._starts, slot) - 1
        if at < 0 or self._ranges[at][0] < slot:
            self._known = False
            raise ServerProblem(Problem("unreachable", "no node of the Redis Cluster serves its slot"))
        return self._ranges[at][1]

    def at(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(address, self._make)
        return self._nodes[address]

    def doubt(self) -> None:
        self._known = False

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.close()

    def _learn(self, rows: list[tuple[int, int, Address]], asked: Address) -> None:
        rows = sorted(rows)
        self._starts = [first for first, _, _ in rows]
        self._ranges = [
            (last, self.at(address if address.host else Address(asked.host, address.port)))
            for _, last, address in rows
        ]
        self._known = True

    async def _forget_strangers(self) -> None:
        serving = {node.address for _, node in self._ranges}
        for address in [address for address in self._nodes if address not in serving]:
            await self._nodes.pop(address).close()


async def _cluster_slots(connection: Connection) -> list[tuple[int, int, Address]]:
    """First slot, last slot and master of each range (`CLUSTER SLOTS`); the host is empty where the server
    means the one that was asked."""
    try:
        reply = await call(connection, "CLUSTER", "SLOTS")
    except ResponseError as error:
        if "cluster support disabled" in str(error):
            raise ServerProblem(Problem("error", "Redis is no Cluster: leave out `cluster: true`")) from None
        raise ServerProblem(of_queue(error)) from error
    ranges: list[tuple[int, int, Address]] = []
    for row in reply if isinstance(reply, list) else [None]:
        match row:
            case [int() as first, int() as last, [bytes() | None as host, int() as port, *_], *_] if (
                0 <= first <= last < _SLOTS
            ):
                name = (host or b"").decode(errors="replace")
                ranges.append((first, last, Address("" if name == "?" else name, port)))
            case _:
                raise ServerProblem(out_of_step("no map of slots"))
    return ranges
