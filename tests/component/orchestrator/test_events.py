"""Events of a real stream: from the first one on, in order where order counts, and none for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from ottoscaler.orchestrator.events.consumer import EventRules
from ottoscaler.orchestrator.events.entry import Entry, EntryId
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.kube_api import Kube, Params
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.redis import RedisConnection
from ottoscaler.runtime.redis_client import REDIS_AWAY
from ottoscaler.runtime.redis_client import client as open_client
from tests.component.orchestrator.living import (
    GROUP,
    HELD,
    PODS,
    STREAM,
    Births,
    live,
    pods,
    settled,
    world,
)
from tests.orchestrator.dying import Faults, FaultyKube
from tests.redis.cluster import ClusterOfThree
from tests.redis.server import RedisServer
from tests.unit.orchestrator.test_event_entries import MALFORMED
from tests.waiting import until


class Refusing(FaultyKube):
    """A cluster that refuses to create pods while `error` says how."""

    def __init__(self, kube: Kube, error: Callable[[dict[str, Any]], KubeError | None]) -> None:
        super().__init__(kube, Faults())
        self.error = error
        self.tried = 0

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        if path.endswith("/pods") and (error := self.error(body)) is not None:
            self.tried += 1
            raise error
        return await super().create(path, body, params)


FORBIDDEN = KubeError(status=403, reason="Forbidden", message='admission webhook "policy" denied the request')
QUOTA = KubeError(status=403, reason="Forbidden", message="exceeded quota: small, requested: pods=1")


@asynccontextmanager
async def place(server: RedisServer) -> AsyncIterator[tuple[Any, MockCluster, Births]]:
    client = redis.asyncio.Redis(port=server.port, protocol=2)
    try:
        async with world(client) as (cluster, births):
            yield client, cluster, births
    finally:
        await client.aclose()


@asynccontextmanager
async def living(kube: Kube, client: Any, **how: Any) -> AsyncIterator[None]:
    """A replica for as long as the block lasts."""
    life = asyncio.create_task(live(kube, client, **how))
    try:
        yield
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def up(client: Any, task: str, count: int) -> None:
    await client.xadd(STREAM, {"type": "scale_up", "task_id": task, "pod_count": count})


async def down(client: Any, task: str, keep: int) -> None:
    await client.xadd(STREAM, {"type": "scale_down", "task_id": task, "pod_count": keep})


async def test_events_sent_before_the_first_start_are_not_lost(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        for number in range(5):
            await up(client, f"early-{number}", 1)
        async with living(cluster, client):
            await until(lambda: births.names.total() == 5 and not pods(cluster), what="all ran")
            await until(lambda: settled(client))


async def test_malformed_events_become_letters_that_people_can_read(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        async with living(cluster, client):
            sent = [fields for fields, _ in MALFORMED if fields]
            for fields in sent:
                await client.xadd(STREAM, fields)
            await up(client, "good", 2)
            await until(lambda: settled(client), what="all are acknowledged")
            letters = await client.xrange(f"{STREAM}:dead")
            assert len(letters) == len(sent)
            words = {fields[b"dead_id"]: fields[b"dead_reason"].decode() for _, fields in letters}
            entries = await client.xrange(STREAM)
            for (id_, fields), expected in zip(entries, [w for f, w in MALFORMED if f], strict=False):
                assert expected in words[id_]
                letter = next(each for _, each in letters if each[b"dead_id"] == id_)
                assert fields.items() <= letter.items(), "with all it said"
            await until(lambda: births.names.total() == 2, what="the good one runs")
        assert births.names.total() == 2


async def test_an_event_that_the_api_refuses_for_good_is_set_aside(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        kube = Refusing(cluster, lambda pod: FORBIDDEN if "bad" in pod["metadata"]["name"] else None)
        async with living(kube, client, rules=EventRules(block=0.05, attempts=2)):
            await up(client, "bad", 2)
            await up(client, "fine", 1)
            await until(lambda: settled(client), what="all are acknowledged")
        ((_, letter),) = await client.xrange(f"{STREAM}:dead")
        assert b"no worker was created; the API refused the rest: admission webhook" in letter[b"dead_reason"]
        assert kube.tried == 4, "two attempts of two workers"
        assert births.names.total() == 1


async def test_a_resource_quota_is_waited_for(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        full = [True]
        kube = Refusing(cluster, lambda pod: QUOTA if full[0] else None)
        async with living(kube, client):
            await up(client, "patient", 2)
            await until(lambda: kube.tried >= 2, what="it was refused")
            assert not await settled(client)
            full[0] = False
            await until(lambda: births.names.total() == 2, what="they run")
            await until(lambda: settled(client))
        assert await client.xlen(f"{STREAM}:dead") == 0


async def test_a_later_scale_down_ends_the_wait_on_another_replica(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        kube = Refusing(cluster, lambda pod: QUOTA if "wanted" in pod["metadata"]["name"] else None)
        async with living(kube, client, name="first", leading=False):
            await up(client, "wanted", 3)
            await until(lambda: kube.tried >= 1, what="the first replica waits for room")
            async with living(kube, client, name="second"):
                await up(client, "other", 1)
                await until(lambda: births.names.total() >= 1, what="events go on")
                await down(client, "wanted", 0)
                await until(lambda: settled(client), what="both are done")
        assert births.names.total() == 1
        assert not [name for name in births.names if "wanted" in name]


async def test_a_scale_down_comes_after_the_scale_ups_before_it(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        async with (
            living(cluster, client, template=HELD),
            living(cluster, client, template=HELD, name="b", leading=False),
        ):
            for round_ in range(10):
                task = f"t-{round_}"
                await up(client, task, 4)
                await up(client, task, 3)
                await down(client, task, 2)
            await until(lambda: settled(client), what="all are acknowledged")
            await until(lambda: len(pods(cluster)) == 20, what="two of each task remain")
        assert births.names.total() == 70


async def test_a_scale_down_that_comes_again_spares_what_came_after_it(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        await up(client, "task", 2)
        async with living(cluster, client, template=HELD):
            await until(lambda: len(pods(cluster)) == 2)
            await until(lambda: settled(client))
        await down(client, "task", 0)
        await client.xreadgroup(GROUP, "dead", {STREAM: ">"})
        await up(client, "task", 3)
        async with living(cluster, client, template=HELD):
            await until(lambda: settled(client), what="the scale_down was claimed and done")
            await until(lambda: len(pods(cluster)) == 3, what="the three that were asked for later")
        assert births.names.total() == 5


async def test_events_of_a_dead_consumer_are_claimed(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        for number in range(3):
            await up(client, f"orphan-{number}", 2)
        await client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=2)
        async with living(cluster, client):
            await until(lambda: settled(client), what="all are acknowledged")
        assert births.names.total() == 6
        assert set(births.names.values()) == {1}


@pytest.mark.parametrize("holder", ["replica-1", "dead"])
async def test_an_event_of_which_nobody_knows_what_it_asked_for_is_a_dead_letter(
    redis_server: RedisServer, holder: str
) -> None:
    """Found again after a restart, or claimed."""
    async with place(redis_server) as (client, cluster, births):
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        await up(client, "gone", 1)
        ((_, ((id_, _),)),) = await client.xreadgroup(GROUP, holder, {STREAM: ">"})
        await client.xtrim(STREAM, maxlen=0)

        async def empty() -> bool:
            return bool((await client.xpending(STREAM, GROUP))["pending"] == 0)

        async with living(cluster, client):
            await until(lambda: client.xlen(f"{STREAM}:dead"), what="it is a dead letter")
            await until(empty, what="nothing is pending")
        assert not births.names
        ((_, letter),) = await client.xrange(f"{STREAM}:dead")
        assert letter[b"dead_id"] == id_
        assert letter[b"dead_reason"].startswith(b"trimmed from the stream before it was acknowledged")


async def test_an_event_that_is_trimmed_while_it_waits_is_carried_out(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        full = [True]
        kube = Refusing(cluster, lambda pod: QUOTA if full[0] else None)
        rules = EventRules(block=0.05, claim_idle=0.8)
        async with (
            living(kube, client, name="first", leading=False, rules=rules),
            living(kube, client, name="second", rules=rules),
        ):
            for number in range(6):  # to whichever replica
                await up(client, f"t-{number}", 2)
            await until(lambda: kube.tried >= 6, what="each was refused")
            await client.xtrim(STREAM, maxlen=0)
            await asyncio.sleep(2)  # in which each refreshes, and the leader claims, again and again
            full[0] = False
            await until(lambda: births.names.total() == 12, what="all are carried out")
        assert set(births.names.values()) == {1}
        assert await client.xlen(f"{STREAM}:dead") == 0


async def test_an_event_that_nobody_ever_finishes_is_set_aside(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        await up(client, "poison", 1)
        await client.xreadgroup(GROUP, "x", {STREAM: ">"})
        for _ in range(4):
            await client.xautoclaim(STREAM, GROUP, "x", 0)
        async with living(cluster, client, rules=EventRules(block=0.05, claim_idle=0.2, most_deliveries=4)):
            await until(lambda: settled(client), what="it is acknowledged")
        ((_, letter),) = await client.xrange(f"{STREAM}:dead")
        assert letter[b"dead_reason"] == b"delivered 6 times and never finished"
        assert not births.names


async def test_a_group_that_somebody_destroyed_is_made_again(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births), living(cluster, client):
        await up(client, "before", 1)
        await until(lambda: settled(client))
        await client.delete(STREAM)
        await up(client, "after", 1)
        await until(lambda: births.names.total() == 2, what="the later one runs")


async def test_ended_workers_stay_until_their_event_is_acknowledged(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        kube = Refusing(cluster, lambda pod: QUOTA if pod["metadata"]["name"].endswith("-2") else None)
        async with living(kube, client):
            await up(client, "half", 2)

            def first_has_ended() -> bool:
                return any(each["status"].get("phase") == "Succeeded" for each in cluster.objects.items(PODS))

            await until(first_has_ended, what="the first worker has ended")
            await until(lambda: kube.tried >= 3, what="the second is refused again and again")
            assert len(pods(cluster)) == 1
            kube.error = lambda pod: None
            await until(lambda: births.names.total() == 2 and not pods(cluster), what="both are done")
        assert set(births.names.values()) == {1}


class Slow(FaultyKube):
    """A cluster that takes its time for each pod, as a real one does."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(kube, Faults())

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        await asyncio.sleep(0.05)
        return await super().create(path, body, params)


async def test_up_and_down_sent_together_leave_what_was_asked_for(redis_server: RedisServer) -> None:
    async with (
        place(redis_server) as (client, cluster, _),
        living(Slow(cluster), client, template=HELD),
    ):
        for round_ in range(5):
            await up(client, f"t-{round_}", 4)
            await down(client, f"t-{round_}", 2)
        await until(lambda: settled(client), what="all are acknowledged")
        await until(lambda: len(pods(cluster)) == 10, what="two of each task remain")


async def test_a_scale_down_that_cannot_be_meant_ends_nobodys_wait(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, cluster, births):
        kube = Refusing(cluster, lambda pod: QUOTA)
        async with living(kube, client, rules=EventRules(block=0.05, look_every=0.01)):
            await up(client, "wanted", 2)
            await until(lambda: kube.tried >= 1, what="the replica waits for room")
            await client.xadd(STREAM, {"type": "scale_down", "task_id": "wanted", "pod_count": "none"})
            looked = kube.tried + 2
            await until(lambda: kube.tried >= looked, what="it has looked for later orders and goes on")
            kube.error = lambda pod: None
            await until(lambda: births.names.total() == 2, what="they run")


async def test_a_cluster_that_is_away_ends_no_part_of_a_replica() -> None:
    """Its client has errors of its own, which are no `RedisError`."""
    with ClusterOfThree() as three:
        settings = RedisConnection(url=three.url, cluster=True)
        async with (
            open_client(settings, environ={}, timeout=0.5, decode_responses=False) as client,
            world(client) as (cluster, births),
        ):
            full = [True]
            kube = Refusing(cluster, lambda pod: QUOTA if full[0] else None)
            rules = EventRules(block=0.05, claim_idle=0.4, look_every=0.1)
            life = asyncio.create_task(live(kube, client, rules=rules, transactions=False))
            try:
                await up(client, "waits", 1)
                await until(lambda: kube.tried, what="it waits for room")
                for server in three.servers:
                    server.stop()
                await asyncio.sleep(2)  # each part has asked a few times
                full[0] = False
                assert not life.done()
                for server in three.servers:
                    server.start()
                await until(lambda: _answers(client), what="the cluster is back, without what it knew")
                await up(client, "after", 1)
                await until(lambda: any("after" in name for name in births.names), what="it reads again")
                assert not life.done()
            finally:
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)


async def _answers(client: Any) -> bool:
    try:
        return bool(await client.exists(STREAM) >= 0)
    except REDIS_AWAY:
        return False


async def test_claims_go_through_all_that_is_silent_and_leave_the_rest(redis_server: RedisServer) -> None:
    async with place(redis_server) as (client, _, _):
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        for number in range(7):
            await up(client, f"t-{number}", 1)
        await client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=6)
        await client.xreadgroup(GROUP, "living", {STREAM: ">"})
        ids = [EntryId.parse(id_.decode()) for id_, _ in await client.xrange(STREAM)]
        await client.xclaim(STREAM, GROUP, "dead", 0, [str(id_) for id_ in ids[:6]], idle=60_000, justid=True)
        await client.xdel(STREAM, str(ids[1]), str(ids[6]))
        stream = EventStream(client, stream=STREAM, group=GROUP, consumer="c")
        found: list[Entry] = []
        cursor = "-"
        while cursor:
            cursor, entries = await stream.claim(idle=30.0, start=cursor, count=2)
            found += entries
        assert [(each.id, bool(each.fields)) for each in found] == [(id_, id_ != ids[1]) for id_ in ids[:6]]
        assert {each.deliveries for each in found} == {2}
        left = {each.id: each.consumer for each in await stream.pending(ids)}
        assert left[ids[6]] == "living", "however much of it was trimmed"
        assert ids[1] in left, "until it is a dead letter"
        assert await stream.claim(idle=30.0, start="(" + str(ids[1]), count=10) == ("", [])
