"""Every situation in which a stream's own figures mislead, on a real server; and ones that they do not."""

import pytest
import redis

from ottoscaler.adapter.reading import Reading
from ottoscaler.adapter.sources.redis import BACKEND, backlog
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from tests.redis import model
from tests.redis.rows import GROUP, ROWS, STREAM, Row, try_row
from tests.redis.server import RedisServer
from tests.sources import queue, read_once, running, source_of


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
async def test_what_is_true_is_read(server: RedisServer, row: Row) -> None:
    outcome = await try_row(server, row)
    assert outcome.is_right, outcome.ours


async def test_random_commands_never_make_a_number_wrong(server: RedisServer) -> None:
    for seed in (1, 2, 3, 4):
        tally = await model.run(server, seed=seed, steps=600, pause=1 + seed % 3)
        print(f"seed {seed}: {tally.steps} steps, {tally.readings} readings")
        assert tally.steps >= 600
        assert not tally.differences, tally.differences[:3]


def _fill(client: "redis.Redis", entries: int, *, first: int = 1, size: int = 1) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(first, first + entries):
        pipe.xadd(STREAM, {"data": b"x" * size}, id=f"{number}-0")
    pipe.execute()


async def test_a_long_backlog_that_lost_entries_is_a_lower_bound_until_it_is_counted(
    server: RedisServer,
) -> None:
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP, count_limit=2000)
    with server.commands() as client:
        _fill(client, 7000)
        client.xdel(STREAM, "6000-0")
        client.xgroup_create(STREAM, GROUP, "3000-0")
    async with running(source_of(BACKEND, [queue("events", settings)])) as published:
        first = await published.reading()
        assert first.lower_bound
        assert first.waiting == 2000
        assert first.oldest_waiting_at == 3.001
        exact = await published.reading(where=lambda reading: not reading.lower_bound)
        assert exact.waiting == 3999
        counts = [reading.waiting for reading in published.readings()]
        assert counts == sorted(counts)


async def test_a_long_backlog_that_never_lost_an_entry_is_exact_at_once(server: RedisServer) -> None:
    with server.commands() as client:
        _fill(client, 30_000)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "pod-1", {STREAM: ">"}, count=2)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    found = await read_once(BACKEND, queue("events", settings))
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing, found.lower_bound) == (29_998, 2, False)


async def test_entries_are_not_read_again_at_each_interval(server: RedisServer) -> None:
    """What a settled backlog costs: no entry but the first, the last, and the oldest waiting one."""
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    with server.commands() as client:
        _fill(client, 5000)
        client.xtrim(STREAM, maxlen=4000, approximate=False)
        client.xgroup_create(STREAM, GROUP, "2500-0")
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading(where=lambda reading: reading.waiting == 2500)
            before = client.info("stats")["total_net_output_bytes"]
            for _ in range(3):
                await published.reading()
            after = client.info("stats")["total_net_output_bytes"]
    assert after - before < 3 * 6000, "bytes of three readings, and of asking"


async def test_large_entries_are_read_in_small_pages(server: RedisServer) -> None:
    with server.commands() as client:
        _fill(client, 300, size=100_000)
        client.xdel(STREAM, "250-0")
        client.xgroup_create(STREAM, GROUP, "100-0")
        before = client.info("stats")["total_net_output_bytes"]
        settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
        found = await read_once(BACKEND, queue("events", settings))
        sent = client.info("stats")["total_net_output_bytes"] - before
    assert isinstance(found, Reading)
    assert found.waiting == 199 or found.lower_bound
    assert sent < 2.5 * backlog._WALK_BYTES


async def test_consumers_are_named_as_holders(server: RedisServer) -> None:
    with server.commands() as client:
        _fill(client, 4)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "pod-1", {STREAM: ">"}, count=1)
        client.xreadgroup(GROUP, "pod-2", {STREAM: ">"}, count=2)
        client.xdel(STREAM, "3-0")
    found = await read_once(
        BACKEND, queue("events", RedisSettings(url=server.url, stream=STREAM, group=GROUP))
    )
    assert isinstance(found, Reading)
    assert [(held.job, held.holder) for held in found.held] == [("1-0", "pod-1"), ("2-0", "pod-2")]


async def test_what_is_idle_for_too_long_is_stalled(server: RedisServer) -> None:
    with server.commands() as client:
        _fill(client, 5)
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "pod-1", {STREAM: ">"}, count=3)
        client.xclaim(STREAM, GROUP, "pod-1", 0, ["1-0", "2-0"], idle=61_000, justid=True)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
    found = await read_once(BACKEND, queue("events", settings, stalled_after=60.0))
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing, found.stalled) == (2, 1, 2)
    unjudged = await read_once(BACKEND, queue("events", settings))
    assert isinstance(unjudged, Reading)
    assert (unjudged.processing, unjudged.stalled) == (3, 0)


async def test_many_pending_entries_are_counted_with_their_ghosts_left_out(server: RedisServer) -> None:
    with server.commands() as client:
        _fill(client, 6000)
        client.xgroup_create(STREAM, GROUP, "0")
        for number in range(6):
            client.xreadgroup(GROUP, f"pod-{number}", {STREAM: ">"}, count=1000)
        client.xtrim(STREAM, minid="101-0", approximate=False)
        settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP)
        trimmed = await read_once(BACKEND, queue("events", settings))
        client.xdel(STREAM, *(f"{number}-0" for number in range(3000, 5000, 2)))
        deleted = await read_once(BACKEND, queue("events", settings))
        few = RedisSettings(url=server.url, stream=STREAM, group=GROUP, count_limit=1000)
        bounded = await read_once(BACKEND, queue("events", few))
    assert isinstance(trimmed, Reading)
    assert (trimmed.waiting, trimmed.processing, trimmed.lower_bound) == (0, 5900, False)
    assert {held.holder for held in trimmed.held} == {f"pod-{number}" for number in range(6)}
    assert isinstance(deleted, Reading)
    assert (deleted.processing, deleted.lower_bound) == (4900, False)
    assert isinstance(bounded, Reading)
    assert bounded.lower_bound
    assert 0 < bounded.processing <= 4900
