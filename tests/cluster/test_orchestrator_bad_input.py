"""Bad input on the real control plane: nothing is created; and what a cluster thinks of strange task ids."""

from pathlib import Path
from typing import Any

import grpc.aio

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub
from tests.cluster.orchestrator.scene import STREAM, scene
from tests.orchestrator.bad_input import EVENTS, LEGAL, REQUESTS, judge_letters, judge_requests

SAYING = (
    'printf "%s\\0" "$OTTO_TASK_ID" > /evidence/task-$OTTO_WORKER_ID; echo $OTTO_WORKER_ID >> /evidence/ran'
)
"""A worker that keeps the task id that it was given, byte by byte."""


async def test_malformed_events_and_requests_create_nothing(namespace: str, kubeconfig: Path) -> None:
    print(f"{len(EVENTS)} events and {len(REQUESTS)} requests")
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        client: Any = here.redis
        sent = [(await client.xadd(STREAM, fields), words) for fields, words in EVENTS]
        await here.until_settled(len(sent))
        letters = [fields for _, fields in await client.xrange(f"{STREAM}:dead")]
        assert not (problems := judge_letters(sent, letters)), "\n".join(problems)
        async with grpc.aio.insecure_channel(replica.address) as channel:
            assert not (problems := await judge_requests(channel)), "\n".join(problems)
        assert not await here.workers()
        assert not here.ran()
        assert not here.handler.received.notifications, "nothing was ever created"
        assert (await replica.status())["runningPipelines"] == 0
        await here.scale_up("good", 1)
        await here.until_ran(1)


async def test_a_cluster_takes_strange_task_ids(namespace: str, kubeconfig: Path) -> None:
    """Each reaches its worker byte by byte, and each worker is found by it."""
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(SAYING)) as replica:
        async with grpc.aio.insecure_channel(replica.address) as channel:
            stub = OttoscalerServiceStub(channel)
            names: dict[str, str] = {}
            for task in LEGAL:
                answer = await stub.ScaleUp(pb.ScaleRequest(task_id=task, worker_count=1))
                assert answer.status == pb.ScaleResponse.SUCCESS, (task, answer.message)
                (names[task],) = answer.worker_pod_names
        ran = await here.until_ran(len(LEGAL))
        assert set(ran) == set(names.values())
        evidence = here.directory / "evidence"
        for task, name in names.items():
            assert (evidence / f"task-{name}").read_bytes() == task.encode() + b"\0"
        await here.until_gone()
        told = {each.task_id for news in here.handler.received.notifications.values() for each in news}
        assert told == set(LEGAL)
