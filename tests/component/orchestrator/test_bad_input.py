"""Bad input: a clear error each, nothing created, dead letters that people can read, and nobody disturbed."""

from typing import Any

import redis.asyncio

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.worker import read_worker
from tests.component.orchestrator.living import settled
from tests.component.orchestrator.mocked import PODS, mocked, workers
from tests.orchestrator.bad_input import EVENTS, LEGAL, REQUESTS, judge_letters, judge_requests
from tests.redis.server import RedisServer
from tests.waiting import until

STREAM = "otto:scale:events"
HELD = {
    "spec": {
        "containers": [{"name": "worker", "env": [{"name": "OTTO_CONFIG_MOCK_SECONDS", "value": "600"}]}]
    }
}
MAPS = "/api/v1/namespaces/default/configmaps"


def test_there_are_more_than_forty_of_each_way() -> None:
    assert len(EVENTS) + len(REQUESTS) >= 90
    assert min(len(EVENTS), len(REQUESTS)) >= 39


async def test_malformed_requests_are_refused_each_in_its_words() -> None:
    async with mocked() as (calls, cluster):
        problems = await judge_requests(calls.channel)
        assert not problems, "\n".join(problems)
        assert not workers(cluster)
        assert not [each for each in cluster.objects.items(MAPS) if "run" in each["metadata"]["name"]]
        answer = await calls.scaling.ScaleUp(pb.ScaleRequest(task_id="good", worker_count=2))
        assert answer.status == pb.ScaleResponse.SUCCESS


async def test_malformed_events_are_set_aside_each_with_its_reason(redis_server: RedisServer) -> None:
    client: Any = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    await client.flushall()
    try:
        async with mocked(events={"redis": {"url": redis_server.url}}, workers={"template": HELD}) as (
            _,
            cluster,
        ):
            sent = [(await client.xadd(STREAM, fields), words) for fields, words in EVENTS]
            await until(lambda: settled(client), what="all are acknowledged")
            letters = [fields for _, fields in await client.xrange(f"{STREAM}:dead")]
            problems = judge_letters(sent, letters)
            assert not problems, "\n".join(problems)
            assert not workers(cluster)
            await client.xadd(STREAM, {"type": "scale_up", "task_id": "good", "pod_count": 2})
            await until(lambda: len(workers(cluster)) == 2, what="a good event is carried out")
    finally:
        await client.aclose()


async def test_strange_ids_work_and_no_two_share_anything(redis_server: RedisServer) -> None:
    """By event and by call: a worker each, found again by the very id, removed by it alone."""
    client: Any = redis.asyncio.Redis(port=redis_server.port, protocol=2)
    await client.flushall()
    try:
        async with mocked(events={"redis": {"url": redis_server.url}}, workers={"template": HELD}) as (
            calls,
            cluster,
        ):
            for task in LEGAL:
                await client.xadd(STREAM, {"type": "scale_up", "task_id": task, "pod_count": 1})
                answer = await calls.scaling.ScaleUp(pb.ScaleRequest(task_id=task, worker_count=1))
                assert answer.status == pb.ScaleResponse.SUCCESS, task
            await until(lambda: len(workers(cluster)) == 2 * len(LEGAL), what="all were created")
            assert not await client.xlen(f"{STREAM}:dead")
            labels = {pod["metadata"]["labels"]["task-id"] for pod in cluster.objects.items(PODS)}
            assert len(labels) == len(LEGAL)
            for pod in cluster.objects.items(PODS):
                assert read_worker(pod).task_id in LEGAL
            for task in LEGAL:
                found = await calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest(task_id=task))
                assert [each.task_id for each in found.workers] == [task, task]
            gone = await calls.scaling.ScaleDown(pb.ScaleRequest(task_id=LEGAL[0], worker_count=0))
            assert gone.processed_count == 2
            await until(
                lambda: (
                    {each.task_id for each in workers(cluster) if each.deleting_at is None} == set(LEGAL[1:])
                ),
                what="only the workers of that task go",
            )
    finally:
        await client.aclose()
