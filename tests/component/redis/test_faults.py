"""A Redis, or the network before it, that misbehaves: each fault ends in words for people, no number is ever
wrong, and all is well again as soon as the fault ends."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisLists, RedisSettings
from tests.faults.proxy import Fault, FaultProxy
from tests.redis.rows import GROUP, STREAM
from tests.redis.server import RedisServer
from tests.sources import News, Published, queue, running, source_of
from tests.waiting import until

_CODES = {
    Fault.REFUSED: {"unreachable"},
    Fault.RESET: {"unreachable"},
    Fault.TRUNCATED: {"unreachable"},
    Fault.SILENCE: {"unreachable"},
    Fault.DRIP: {"unreachable"},
    Fault.GARBAGE: {"invalid", "unreachable"},
    Fault.INSERTED: {"invalid", "unreachable"},
}


def _two_of_five(server: RedisServer) -> None:
    with server.commands() as client:
        for number in range(1, 6):
            client.xadd(STREAM, {"task_id": str(number)}, id=f"{number}-0")
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "pod-1", {STREAM: ">"}, count=2)


async def _trouble(published: Published) -> SourceError | ReadFailure:
    """The next news that is no reading."""
    seen = len(published.all)

    def trouble() -> News | None:
        return next(
            (each for each in published.all[seen:] if isinstance(each, SourceError | ReadFailure)), None
        )

    found: SourceError | ReadFailure = await until(trouble, within=15.0, every=0.005)
    return found


@asynccontextmanager
async def _read_through_proxy(server: RedisServer) -> AsyncIterator[tuple[FaultProxy, Published]]:
    async with FaultProxy("127.0.0.1", server.port, seed=1) as proxy:
        settings = RedisSettings(url=f"redis://127.0.0.1:{proxy.port}", stream=STREAM, group=GROUP)
        source = source_of(BACKEND, [queue("events", settings, timeout=0.4)])
        async with running(source) as published:
            await published.reading()
            yield proxy, published
        await until(lambda: proxy.open_connections == 0, what="all connections to be closed")


@pytest.mark.parametrize("after", [0, 150])
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_network_fault_is_a_failure_and_passes(server: RedisServer, fault: Fault, after: int) -> None:
    _two_of_five(server)
    async with _read_through_proxy(server) as (proxy, published):
        await proxy.inflict(fault, after=after)
        trouble = await _trouble(published)
        assert trouble.code in _CODES[fault], trouble
        await _trouble(published)
        await proxy.heal()
        await published.reading()
    assert {(reading.waiting, reading.processing) for reading in published.readings()} == {(3, 2)}


async def test_a_server_that_hangs_is_a_failure_and_passes(server: RedisServer) -> None:
    _two_of_five(server)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    with server.commands() as client:
        async with running(source_of(BACKEND, [queue("events", settings, timeout=0.3)])) as published:
            await published.reading()
            client.client_pause(900, all=True)
            trouble = await _trouble(published)
            assert (trouble.code, str(trouble)) == ("unreachable", "Redis does not answer in time")
            assert (await published.reading()).waiting == 3


async def test_a_count_that_time_cuts_short_is_a_failure_and_no_low_number(server: RedisServer) -> None:
    _two_of_five(server)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    with server.commands() as client:
        client.client_pause(500, all=True)
        async with running(source_of(BACKEND, [queue("events", settings, timeout=0.8)])) as published:
            trouble = await _trouble(published)
            assert isinstance(trouble, ReadFailure)
            assert "too slow" in trouble.reason
            assert (await published.reading()).waiting == 3
        assert {(reading.waiting, reading.processing) for reading in published.readings()} == {(3, 2)}


async def test_a_server_that_is_killed_and_started_again_empty_is_read_anew(server: RedisServer) -> None:
    with RedisServer() as mortal:
        _two_of_five(mortal)
        settings = RedisSettings(url=mortal.url, stream=STREAM, group=GROUP)
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading()
            mortal.stop()
            assert (await _trouble(published)).code == "unreachable"
            mortal.start()
            missing = await until(
                lambda: next((each for each in published.all if isinstance(each, ReadFailure)), None)
            )
            assert missing.code == "missing"
            with mortal.commands() as client:
                client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
                client.xadd(STREAM, {"task_id": "6"})
            assert (await published.reading(where=lambda reading: reading.waiting > 0)).waiting == 1


async def test_a_server_that_loads_its_data_is_waited_for() -> None:
    with RedisServer() as server, server.commands() as client, server.commands() as other:
        _two_of_five(server)
        untyped: Any = client
        untyped.execute_command("DEBUG", "POPULATE", 3000)
        client.config_set("key-load-delay", 300)
        client.config_set("loading-process-events-interval-bytes", 1024)
        settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading()
            loading = asyncio.create_task(asyncio.to_thread(untyped.execute_command, "DEBUG", "RELOAD"))
            trouble = await _trouble(published)
            assert (trouble.code, str(trouble)) == ("unreachable", "Redis is loading its data set")
            await loading
            assert (await published.reading()).waiting == 3
        assert {reading.waiting for reading in published.readings()} == {3}
        assert other.ping()


async def test_a_group_that_goes_and_comes_is_a_failure_meanwhile(server: RedisServer) -> None:
    _two_of_five(server)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    with server.commands() as client:
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading()
            client.xgroup_destroy(STREAM, GROUP)
            trouble = await _trouble(published)
            assert isinstance(trouble, ReadFailure)
            assert (trouble.code, trouble.reason) == ("missing", "the stream has no such consumer group")
            client.xgroup_create(STREAM, GROUP, "4-0")
            reading = await published.reading(where=lambda reading: reading.waiting == 1)
            assert reading.processing == 0


async def test_a_group_is_not_created_on_a_replica() -> None:
    with RedisServer() as master, RedisServer("--replicaof", "127.0.0.1", str(master.port)) as replica:
        settings = RedisSettings(url=replica.url, stream=STREAM, group=GROUP, missing="create")
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            refused = await until(
                lambda: next((each for each in published.all if isinstance(each, ReadFailure)), None)
            )
            assert (refused.code, refused.reason) == ("forbidden", "Redis is a read-only replica")


async def test_a_busy_script_is_said(server: RedisServer) -> None:
    _two_of_five(server)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    with server.commands() as client, server.commands() as killer:
        client.config_set("busy-reply-threshold", 50)
        untyped: Any = client
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading()
            script = asyncio.create_task(
                asyncio.to_thread(_ignoring_errors, untyped.execute_command, "EVAL", "while true do end", 0)
            )
            trouble = await _trouble(published)
            assert "script" in str(trouble)
            killer.script_kill()
            await script
            assert (await published.reading()).waiting == 3


async def test_too_many_clients_are_said() -> None:
    with RedisServer("--maxclients", "2") as server:
        settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP, missing="empty")
        with server.commands() as client, server.commands() as other:
            client.ping()
            other.ping()
            async with running(source_of(BACKEND, [queue("events", settings)])) as published:
                # the server may hang up before its words are read, so not every attempt hears them
                codes = [(await _trouble(published)).code]
                while codes[-1] == "unreachable" and len(codes) < 20:
                    codes.append((await _trouble(published)).code)
                assert codes[-1] == "limited"
                other.close()
                await published.reading()


async def test_what_answers_another_protocol_is_said() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        settings = RedisSettings(url=f"redis://127.0.0.1:{port}", stream=STREAM, group=GROUP)
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            trouble = await _trouble(published)
            assert str(trouble) == "what answers is no Redis, or garbles its answers"


def _ignoring_errors(call: Any, *arguments: Any) -> None:
    with suppress(redis.RedisError):
        call(*arguments)


async def test_a_reading_that_a_reload_overtook_is_nobodys(server: RedisServer) -> None:
    with server.commands() as client:
        client.rpush("old", *"1234567")
        client.rpush("new", *"123")
        old, new = (
            queue(
                "jobs",
                RedisSettings(url=server.url, lists=RedisLists(waiting=(key,))),
                interval=60.0,
                timeout=20.0,
            )
            for key in ("old", "new")
        )
        source = source_of(BACKEND, [old])
        async with running(source) as published:
            assert (await published.reading()).waiting == 7
            source.set_queues([dataclasses.replace(old, interval=0.2)])
            client.client_pause(600, all=True)
            await asyncio.sleep(0.4)  # a reading is under way, and not answered
            source.set_queues([new])
            seen = len(published.all)
            assert (await published.reading()).waiting == 3, "read at once, though its interval is a minute"
            assert [
                each for each in published.all[seen:] if isinstance(each, Reading) and each.waiting == 7
            ] == []
