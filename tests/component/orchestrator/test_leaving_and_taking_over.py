"""A replica leaves in order and in time, and its successor goes on where it was: nothing lost, nothing twice."""

import asyncio
from typing import Any

import grpc.aio
import pytest
import redis.asyncio

from ottoscaler.orchestrator.events.later import LaterOrders
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.runtime.kube import KubeError
from tests.component.orchestrator.living import settled
from tests.component.orchestrator.mocked import PODS, Calls, Faulty, serving, settings, until_gone, workers
from tests.orchestrator.handler import Answer, Handler
from tests.redis.server import RedisServer
from tests.waiting import until

STREAM = "otto:scale:events"
TOLD = ["CREATED", "RUNNING", "COMPLETED"]
AWAY = KubeError(status=0, reason="Unreachable", message="connection refused")


async def order(calls: Calls, count: int, **config: object) -> list[str]:
    """Workers of task `t`; their names."""
    asked = {f"mock_{key}": str(value) for key, value in config.items()}
    answer = await calls.scaling.ScaleUp(pb.ScaleRequest(task_id="t", worker_count=count, build_config=asked))
    assert answer.status == pb.ScaleResponse.SUCCESS
    return list(answer.worker_pod_names)


def lines(name: str, count: int) -> list[str]:
    return [f"{name}: step {number} of {count}" for number in range(1, count + 1)]


async def test_logs_go_on_with_the_successor_without_loss_or_repetition() -> None:
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Handler() as handler:
        configuration = settings(handler={"address": handler.address})
        names: list[str] = []

        def least() -> int:
            return min(len(handler.received.lines(name)) for name in names)

        for replica, wanted in enumerate((25, 50, 120)):
            async with serving(cluster, configuration, identity=f"replica-{replica}") as calls:
                names = names or await order(calls, 5, lines=120, seconds=3)
                await until(lambda wanted=wanted: least() >= wanted, what=f"{wanted} lines of each come")
                if replica == 2:
                    await until_gone(cluster)
        for name in names:
            assert handler.received.lines(name) == lines(name, 120)
            assert handler.received.dropped(name) == 0
            assert handler.received.stages(name) == TOLD
        assert handler.received.repeated == 0


async def test_what_is_buffered_is_delivered_before_the_end() -> None:
    """The handler is slower than the workers when the replica is told to leave."""
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Handler() as handler:
        slow = True
        handler.answer = lambda entry: Answer(status=Answer.ACK, throttle_ms=30 if slow else 0)
        async with serving(cluster, settings(handler={"address": handler.address})) as calls:
            (name,) = await order(calls, 1, lines=300, seconds=0.01)
            await until(lambda: handler.received.lines(name), what="the first line comes")
            slow = False
        came = len(handler.received.lines(name))
        assert handler.received.lines(name) == lines(name, 300)[:came]
        async with serving(cluster, settings(handler={"address": handler.address}), identity="next"):
            await until_gone(cluster)
        assert handler.received.lines(name) == lines(name, 300)
        assert handler.received.repeated == 0


async def test_what_ended_while_nobody_watched_is_told_and_removed() -> None:
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Handler() as handler:
        configuration = settings(handler={"address": handler.address}, workers={"retain": "1s"})
        async with serving(cluster, configuration) as calls:
            names = await order(calls, 4, seconds=600, lines=0)
            await until(lambda: all(each.phase == "Running" for each in workers(cluster)))
        for name in names:
            cluster.finish(f"{PODS}/{name}", exit_code=3 if name == names[0] else 0, lines=["one", "two"])
        assert all(each.ended for each in workers(cluster))
        async with serving(cluster, configuration, identity="next"):
            await until_gone(cluster)
        assert all(handler.received.lines(name) == ["one", "two"] for name in names)
        bad, *good = names
        assert [handler.received.stages(name) for name in good] == [TOLD] * 3
        assert handler.received.stages(bad) == ["CREATED", "RUNNING", "FAILED"]
        assert handler.received.notifications[bad][-1].metadata["exit_code"] == "3"


async def test_an_end_that_was_told_is_noted_before_its_pod_is_removed() -> None:
    """Else a successor finds a worker that runs by its mark and is gone: it would tell of another end."""
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Handler() as handler:
        faulty = Faulty(cluster)
        configuration = settings(handler={"address": handler.address})
        async with serving(faulty, configuration) as calls:
            names = await order(calls, 3, seconds=0.2, lines=1)
            await until(lambda: all(handler.received.stages(name) == TOLD[:2] for name in names))
            faulty.fault = lambda verb, path: AWAY if path.endswith("ottoscaler-marks") else None
            await until(lambda: all(handler.received.stages(name) == TOLD for name in names))
            assert len(workers(cluster)) == 3
        async with serving(cluster, configuration, identity="next"):
            await until_gone(cluster)
        assert all(handler.received.told(name) == TOLD for name in names)


async def test_an_end_that_nobody_took_is_told_by_the_successor() -> None:
    """The handler was away until the pods had to go, and the replica went too."""
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Handler() as handler:
        configuration = settings(
            handler={"address": handler.address, "handover": "200ms"}, workers={"retain": "100ms"}
        )
        await handler.stop()
        async with serving(cluster, configuration) as calls:
            (good,) = await order(calls, 1, seconds=0.05, lines=1)
            (bad,) = await order(calls, 1, seconds=0.05, lines=1, exit_code=3)
            await until_gone(cluster)
        await handler.start()
        async with serving(cluster, configuration, identity="next"):
            await until(lambda: handler.received.stages(good) and handler.received.stages(bad))
        assert handler.received.stages(good) == ["COMPLETED"]
        (news,) = handler.received.notifications[bad]
        assert (news.status, news.reason) == (pb.WorkerStatusNotification.FAILED, "exited with code 3")


async def test_a_replica_that_leaves_takes_no_new_events_and_finishes_those_in_hand(
    redis_server: RedisServer,
) -> None:
    client: Any = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    await client.flushall()
    configuration = settings(events={"redis": {"url": redis_server.url}})
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster:
        faulty, tried = Faulty(cluster), 0

        def away_for_a_while(verb: str, path: str) -> KubeError | None:
            nonlocal tried
            if (verb, path[-5:]) != ("create", "/pods"):
                return None
            tried += 1
            return AWAY if tried <= 2 else None

        faulty.fault = away_for_a_while
        async with serving(faulty, configuration):
            await client.xadd(STREAM, {"type": "scale_up", "task_id": "in-hand", "pod_count": 1})
            await until(lambda: tried, what="it is in hand")
        assert await settled(client), "what was in hand has been carried out"
        assert tried == 3
        await client.xadd(STREAM, {"type": "scale_up", "task_id": "later", "pod_count": 1})
        (group,) = await client.xinfo_groups(STREAM)
        assert group["entries-read"] == 1
        async with serving(cluster, configuration, identity="next"):
            await until(lambda: settled(client), what="the successor carries the later one out")
    await client.aclose()


async def test_nothing_holds_a_replica_beyond_its_grace(redis_server: RedisServer) -> None:
    """A cluster that is away, a handler that hangs, calls without an end: it leaves all the same."""
    client: Any = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    await client.flushall()
    hanging = asyncio.Event()

    class Hanging(Handler):
        async def ForwardWorkerLogs(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            async for _ in request_iterator:
                await hanging.wait()
                yield Answer(status=Answer.ACK)

    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster, Hanging() as handler:
        faulty = Faulty(cluster)
        configuration = settings(
            handler={"address": handler.address}, events={"redis": {"url": redis_server.url}}, grace="2s"
        )
        async with serving(faulty, configuration) as calls:
            await order(calls, 2, lines=50, seconds=0.1)
            await until(lambda: calls.metric("otto_log_buffered_bytes"), what="lines wait")
            faulty.fault = lambda verb, path: AWAY
            await client.xadd(STREAM, {"type": "scale_up", "task_id": "stuck", "pod_count": 1})
            await until(lambda: calls.metric("otto_events_in_flight"), what="an event waits")
            channel = grpc.aio.insecure_channel(calls.address)
            stream: Any = Calls(calls.orchestrator, channel).logs.StreamLogs()
            await stream.write(pb.LogEntry(worker_id="w"))
            await stream.read()
            leaving = asyncio.timeout(None)
            await leaving.__aenter__()
            leaving.reschedule(asyncio.get_running_loop().time() + 8)
        await leaving.__aexit__(None, None, None)
        await channel.close()
        hanging.set()
        (group,) = await client.xinfo_groups(STREAM)
        assert group["pending"] == 1, "the event is still somebody's to carry out"
        faulty.fault = lambda verb, path: None
        rules = settings(
            handler={"address": handler.address},
            events={"redis": {"url": redis_server.url}, "claimIdle": "1s"},
        )
        async with serving(faulty, rules, identity="next"):
            await until(lambda: settled(client), what="the successor claims the event")
            await until_gone(cluster)
    await client.aclose()


async def test_what_is_claimed_goes_to_whoever_reads_now(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that failed is replaced, and the leader's claims do not go to the old one."""
    client: Any = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    await client.flushall()
    fails, run, runs = asyncio.Event(), LaterOrders.run, 0

    async def once(self: LaterOrders) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await fails.wait()
            raise RuntimeError("a mistake of ours")
        await run(self)

    monkeypatch.setattr(LaterOrders, "run", once)
    configuration = settings(events={"redis": {"url": redis_server.url}, "claimIdle": "1s"})
    async with (
        MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster,
        serving(cluster, configuration) as calls,
    ):
        await until(lambda: client.exists(STREAM), what="the group is there")
        for task in ("before", "after"):
            async with client.pipeline(transaction=True) as pipe:
                pipe.xadd(STREAM, {"type": "scale_up", "task_id": task, "pod_count": 1})
                pipe.xreadgroup("ottoscaler", "dead", {STREAM: ">"})
                await pipe.execute()
            await until(lambda: settled(client), what="it was claimed and carried out")
            if task == "before":
                fails.set()
                await until(lambda: runs == 2, what="a new reader")
        assert calls.metric("otto_events_claimed_total") == 2
    await client.aclose()
