"""Failovers are followed and moved slots found, with numbers that are right before, meanwhile and after."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisLists, RedisSettings
from ottoscaler.runtime.redis import RedisSentinel
from ottoscaler.runtime.redis_client import client as open_client
from tests.redis import rights
from tests.redis.cluster import ClusterOfThree
from tests.redis.sentinel import MASTER, SentinelSet
from tests.redis.server import RedisServer
from tests.sources import News, Published, queue, read_once, running, source_of
from tests.waiting import until


@pytest.fixture
def redises() -> Iterator[SentinelSet]:
    with SentinelSet() as redises:
        yield redises


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterOfThree]:
    with ClusterOfThree() as cluster:
        yield cluster


def _add(client: Any, stream: str, entries: int, *, group: bool = True) -> None:
    for number in range(entries):
        client.xadd(stream, {"task_id": str(number)})
    if group:
        client.xgroup_create(stream, "workers", "0")


def _behind_sentinel(redises: SentinelSet, master: str = MASTER) -> RedisSettings:
    return RedisSettings(
        url=redises.url, sentinel=RedisSentinel(master=master), stream="jobs", group="workers"
    )


async def _acknowledged(server: RedisServer) -> None:
    """Until the replica has all that the master has."""
    with server.commands() as client:
        assert client.wait(1, 5000) == 1


async def test_the_master_that_dies_is_followed(redises: SentinelSet) -> None:
    dead = redises.master()
    with dead.commands() as client:
        _add(client, "jobs", 3)
    await _acknowledged(dead)
    async with running(source_of(BACKEND, [queue("jobs", _behind_sentinel(redises))])) as published:
        assert (await published.reading()).waiting == 3
        dead.stop()
        assert isinstance(await published.next(), SourceError)
        await until(lambda: redises.master() is not dead, within=30.0, what="a failover")
        assert (await published.reading()).waiting == 3
        with redises.master().commands() as client:
            _add(client, "jobs", 2, group=False)
        await published.reading(where=lambda reading: reading.waiting == 5)
    assert {reading.waiting for reading in published.readings()} == {3, 5}


async def test_a_master_that_is_replaced_alive_is_left(redises: SentinelSet) -> None:
    old = redises.master()
    with old.commands() as client:
        _add(client, "jobs", 3)
    await _acknowledged(old)
    async with running(source_of(BACKEND, [queue("jobs", _behind_sentinel(redises))])) as published:
        await published.reading()
        redises.fail_over()
        await until(lambda: redises.master() is not old, within=30.0, what="a failover")
        with redises.master().commands() as client:
            _add(client, "jobs", 4, group=False)
        await published.reading(where=lambda reading: reading.waiting == 7)
    assert {reading.waiting for reading in published.readings()} == {3, 7}


async def test_what_sentinel_does_not_know_is_said(redises: SentinelSet) -> None:
    found = await read_once(BACKEND, queue("jobs", _behind_sentinel(redises, "other")))
    assert isinstance(found, SourceError)
    assert str(found) == "no Sentinel knows a Redis master of that name"


async def test_sentinels_that_are_gone_are_done_without_for_a_while(redises: SentinelSet) -> None:
    with redises.master().commands() as client:
        _add(client, "jobs", 3)
    async with running(source_of(BACKEND, [queue("jobs", _behind_sentinel(redises))])) as published:
        await published.reading()
        for sentinel in redises.sentinels:
            sentinel.stop()
        assert (await published.reading()).waiting == 3


async def test_a_client_for_the_orchestrator_finds_the_master(redises: SentinelSet) -> None:
    connection = _behind_sentinel(redises).connection()
    async with open_client(connection, environ={}) as client:
        await client.xadd("jobs", {"task_id": "1"})
        assert await client.xlen("jobs") == 1


async def test_a_replica_without_its_master_is_not_believed() -> None:
    with RedisServer() as master, RedisServer("--replicaof", "127.0.0.1", str(master.port)) as replica:
        with master.commands() as client:
            _add(client, "jobs", 3)
        settings = RedisSettings(url=replica.url, stream="jobs", group="workers")
        async with running(source_of(BACKEND, [queue("jobs", settings)])) as published:
            assert (await published.reading()).waiting == 3
            master.stop()
            lost = await until(
                lambda: next((each for each in published.all if isinstance(each, SourceError)), None)
            )
            assert str(lost) == "the Redis replica has lost its master"
            before = len(published.readings())
            await published.next()
            await published.next()
            assert len(published.readings()) == before


async def test_the_documented_rights_tell_a_replica_without_its_master() -> None:
    with RedisServer() as master, RedisServer("--replicaof", "127.0.0.1", str(master.port)) as replica:
        with master.commands() as client:
            _add(client, "jobs", 3)
        settings = RedisSettings(
            url=replica.url.replace("//", "//reader:secret@"), stream="jobs", group="workers"
        )
        rights.allow(replica, rights.ALWAYS + rights.STREAM)
        async with running(source_of(BACKEND, [queue("jobs", settings)])) as published:
            assert (await published.reading()).waiting == 3
        master.stop()

        async def read() -> News:
            return await read_once(BACKEND, queue("jobs", settings))

        async def lost() -> bool:
            return isinstance(await read(), SourceError)

        await until(lost, what="the loss is noticed")
        assert str(await read()) == "the Redis replica has lost its master"
        rights.allow(replica, [right for right in rights.ALWAYS + rights.STREAM if right != "+role"])
        assert isinstance(await read(), Reading), "as is documented"


async def test_the_documented_rights_let_sentinels_be_asked(redises: SentinelSet) -> None:
    with redises.master().commands() as client:
        _add(client, "jobs", 3)
    rights.allow(redises.master(), rights.ALWAYS + rights.STREAM)
    for sentinel in redises.sentinels:
        rights.allow(sentinel, rights.SENTINEL, keys="")
    settings = RedisSettings(
        url=redises.url.replace("//", "//reader:secret@"),
        sentinel=RedisSentinel(master=MASTER, username="reader", password_variable="P"),
        stream="jobs",
        group="workers",
    )
    found = await read_once(BACKEND, queue("jobs", settings), environ={"P": "secret"})
    assert isinstance(found, Reading), found
    for sentinel in redises.sentinels:
        rights.allow(sentinel, [], keys="")
    refused = await read_once(BACKEND, queue("jobs", settings), environ={"P": "secret"})
    assert isinstance(refused, SourceError)
    assert (refused.code, str(refused)) == ("forbidden", "Sentinel: the Redis user lacks a right")


def _in_cluster(cluster: ClusterOfThree, stream: str) -> RedisSettings:
    return RedisSettings(url=cluster.url, cluster=True, stream=stream, group="workers")


async def _latest(published: Published, name: str, waiting: int) -> None:
    await published.reading(name, where=lambda reading: reading.waiting == waiting)


async def test_streams_on_all_nodes_are_read_and_moved_slots_followed(cluster: ClusterOfThree) -> None:
    streams = [cluster.key_on(server, "jobs") for server in cluster.servers]
    with contextlib.closing(cluster.client()) as client:
        for number, stream in enumerate(streams, start=1):
            _add(client, stream, number)
    queues = [queue(stream, _in_cluster(cluster, stream)) for stream in streams]
    async with running(source_of(BACKEND, queues)) as published:
        for number, stream in enumerate(streams, start=1):
            await _latest(published, stream, number)

        moving, target = streams[0], cluster.servers[2]
        cluster.begin_move(moving, target)
        for _ in range(3):
            assert (await published.reading(moving)).waiting == 1
        cluster.end_move(moving, target)
        assert cluster.owner(moving) is target
        with contextlib.closing(cluster.client()) as client:
            _add(client, moving, 4, group=False)
        await _latest(published, moving, 5)
        assert {reading.waiting for reading in published.readings(moving)} == {1, 5}
        assert not any(isinstance(news, SourceError | ReadFailure) for news in published.all)


@pytest.mark.parametrize("missing", ["", *rights.CLUSTER])
async def test_the_documented_rights_let_a_cluster_be_read(cluster: ClusterOfThree, missing: str) -> None:
    stream = cluster.key_on(cluster.servers[0], f"rights{missing}")
    with contextlib.closing(cluster.client()) as client:
        _add(client, stream, 2)
    given = rights.ALWAYS + rights.STREAM + rights.CLUSTER
    for server in cluster.servers:
        rights.allow(server, [right for right in given if right != missing])
    settings = RedisSettings(
        url=cluster.url.replace("//", "//reader:secret@"), cluster=True, stream=stream, group="workers"
    )
    cluster.begin_move(stream, cluster.servers[1])  # what the user has to ask for
    try:
        found = await read_once(BACKEND, queue(stream, settings))
    finally:
        cluster.end_move(stream, cluster.servers[1])
    if not missing:
        assert isinstance(found, Reading), found
        assert found.waiting == 2
    else:
        assert isinstance(found, ReadFailure | SourceError), found
        assert (found.code, missing.removeprefix("+") in found.detail) == ("forbidden", True)


@pytest.mark.parametrize(
    ("prefix", "own", "others"),
    [
        ("together", {}, {}),
        ("alone", {"interval": 0.2}, {"interval": 0.9}),
        ("apart", {"timeout": 2.0}, {"timeout": 5.0}),
    ],
)
async def test_a_node_that_dies_fails_only_its_own_queues(
    cluster: ClusterOfThree, prefix: str, own: dict[str, float], others: dict[str, float]
) -> None:
    """Also where no queue of another node is due at the same time, or waits as long."""
    streams = [cluster.key_on(server, prefix) for server in cluster.servers]
    with contextlib.closing(cluster.client()) as client:
        for stream in streams:
            _add(client, stream, 2)
    queues = [
        queue(stream, _in_cluster(cluster, stream), **(own if stream == streams[1] else others))
        for stream in streams
    ]
    async with running(source_of(BACKEND, queues)) as published:
        for stream in streams:
            await published.reading(stream)
        with cluster.servers[1].commands() as client:
            client.config_set("save", "3600 1")
            client.save()
        cluster.servers[1].stop()
        failure = await until(
            lambda: next((each for each in published.all if isinstance(each, ReadFailure)), None)
        )
        assert (failure.queue, failure.code) == (streams[1], "unreachable")
        for stream in (streams[0], streams[2]):
            await published.reading(stream)
        cluster.servers[1].start()
        assert (await published.reading(streams[1])).waiting == 2
        assert not any(isinstance(news, SourceError) for news in published.all)
        assert {news.queue for news in published.all if isinstance(news, ReadFailure)} == {streams[1]}


async def test_a_first_node_that_hangs_leaves_time_for_the_others(cluster: ClusterOfThree) -> None:
    stream = cluster.key_on(cluster.servers[1], "hung")
    with contextlib.closing(cluster.client()) as client:
        _add(client, stream, 3)
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    settings = RedisSettings(
        url=f"redis://127.0.0.1:{port},127.0.0.1:{cluster.servers[0].port}",
        cluster=True,
        stream=stream,
        group="workers",
    )
    async with silent:
        found = await read_once(BACKEND, queue("jobs", settings, timeout=2.0))
    assert isinstance(found, Reading)
    assert found.waiting == 3


async def test_a_node_that_was_reset_is_not_believed(cluster: ClusterOfThree) -> None:
    stream = cluster.key_on(cluster.servers[1], "reset")
    with contextlib.closing(cluster.client()) as client:
        _add(client, stream, 3)
    with RedisServer("--cluster-enabled", "yes") as empty:
        settings = RedisSettings(
            url=f"redis://127.0.0.1:{empty.port},127.0.0.1:{cluster.servers[0].port}",
            cluster=True,
            stream=stream,
            group="workers",
        )
        found = await read_once(BACKEND, queue("jobs", settings))
        assert isinstance(found, Reading)
        assert found.waiting == 3
        alone = RedisSettings(url=empty.url, cluster=True, stream=stream, group="workers")
        refused = await read_once(BACKEND, queue("jobs", alone))
    assert isinstance(refused, SourceError)
    assert str(refused) == "no node of the Redis Cluster serves any slot"


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(-1)
    writer.close()


async def test_a_cluster_that_was_not_announced_is_said(cluster: ClusterOfThree, server: RedisServer) -> None:
    stream = cluster.key_on(cluster.servers[0], "jobs")
    wrong = RedisSettings(url=cluster.servers[1].url, stream=stream, group="workers")
    found = await read_once(BACKEND, queue("jobs", wrong))
    assert isinstance(found, ReadFailure)
    assert found.reason == "Redis is part of a Cluster: add `cluster: true`"
    single = RedisSettings(url=server.url, cluster=True, stream=stream, group="workers")
    refused = await read_once(BACKEND, queue("jobs", single))
    assert isinstance(refused, SourceError)
    assert str(refused) == "Redis is no Cluster: leave out `cluster: true`"


async def test_lists_of_a_cluster_share_a_slot(cluster: ClusterOfThree) -> None:
    lists = RedisLists(waiting=("{mail}:wait",), processing=("{mail}:active",))
    with contextlib.closing(cluster.client()) as client:
        client.rpush("{mail}:wait", "1", "2")
        client.rpush("{mail}:active", "3")
    settings = RedisSettings(url=cluster.url, cluster=True, lists=lists)
    found = await read_once(BACKEND, queue("mail", settings))
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing) == (2, 1)
    with pytest.raises(ValueError, match="hash tag"):
        RedisSettings(url=cluster.url, cluster=True, lists=RedisLists(waiting=("a",), processing=("b",)))


async def test_a_client_for_the_orchestrator_finds_the_nodes(cluster: ClusterOfThree) -> None:
    connection = _in_cluster(cluster, "any").connection()
    async with open_client(connection, environ={}) as client:
        for number in range(6):
            await client.set(f"key:{number}", str(number))
        assert [await client.get(f"key:{number}") for number in range(6)] == list("012345")
