"""The gRPC API on a real control plane: workers by call, status that is true, repeated and refused requests."""

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub
from tests.cluster.orchestrator.scene import scene
from tests.waiting import until

pytestmark = pytest.mark.own_cluster  # what ran is told by a file of the node

HELD = "echo $OTTO_WORKER_ID >> /evidence/ran; exec sleep 60"
Status = pb.ScaleResponse.Status


async def test_scaling_by_calls(namespace: str, kubeconfig: Path) -> None:
    async with (
        scene(kubeconfig, namespace) as here,
        here.replica(here.settings(HELD)) as replica,
        grpc.aio.insecure_channel(replica.address) as channel,
    ):
        stub = OttoscalerServiceStub(channel)
        up = await stub.ScaleUp(pb.ScaleRequest(task_id="calls", worker_count=3, build_config={"lang": "go"}))
        assert up.status == Status.Value("SUCCESS")
        assert up.processed_count == 3
        assert len(set(up.worker_pod_names)) == 3
        await here.until_ran(3)

        async def running() -> pb.WorkerStatusResponse | None:
            status = await stub.GetWorkerStatus(pb.WorkerStatusRequest(task_id="calls"))
            return status if status.running_count == 3 else None

        status: Any = await until(running, what="three run")
        assert status.total_count == 3
        assert {each.pod_name for each in status.workers} == set(up.worker_pod_names)
        assert all(each.node_name and each.pod_ip and each.started_at for each in status.workers)

        await replica.kill()
        await replica.start()
        again = await stub.GetWorkerStatus(pb.WorkerStatusRequest(task_id="calls"), wait_for_ready=True)
        assert (again.total_count, again.running_count) == (3, 3), "true after a restart"
        one = await stub.GetWorkerStatus(pb.WorkerStatusRequest(worker_pod_name=up.worker_pod_names[0]))
        assert one.total_count == 1
        none = await stub.GetWorkerStatus(pb.WorkerStatusRequest(task_id="calls", status_filter="Failed"))
        assert none.total_count == 0

        down = await stub.ScaleDown(pb.ScaleRequest(task_id="calls", worker_count=1))
        assert (down.status, down.processed_count) == (Status.Value("SUCCESS"), 2)
        assert set(down.worker_pod_names) < set(up.worker_pod_names)
        gone = await stub.ScaleDown(pb.ScaleRequest(task_id="calls", worker_count=0))
        assert gone.processed_count == 1
        await here.until_gone()


async def test_a_repeated_request_does_nothing(namespace: str, kubeconfig: Path) -> None:
    async with (
        scene(kubeconfig, namespace) as here,
        here.replica(here.settings()) as replica,
        grpc.aio.insecure_channel(replica.address) as channel,
    ):
        stub = OttoscalerServiceStub(channel)
        request = pb.ScaleRequest(task_id="again", worker_count=2, metadata={"request_id": "r-1"})
        first = await stub.ScaleUp(request)
        assert first.status == Status.Value("SUCCESS")
        await here.until_ran(2)
        await here.until_gone()
        await replica.kill()
        await replica.start()
        second = await stub.ScaleUp(request, wait_for_ready=True)
        assert second.status == Status.Value("ALREADY_PROCESSED")
        assert list(second.worker_pod_names) == list(first.worker_pod_names)
        other = pb.ScaleRequest(task_id="again", worker_count=1, metadata={"request_id": "r-2"})
        assert (await stub.ScaleUp(other)).status == Status.Value("SUCCESS")
        ran = await here.until_ran(3)
        assert set(ran.values()) == {1}


async def test_what_the_api_refuses_is_reported(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        quota = {"metadata": {"name": "two"}, "spec": {"hard": {"pods": "2"}}}
        await here.kube.create(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)

        async def counted() -> bool:
            path = f"/api/v1/namespaces/{namespace}/resourcequotas/two"
            return "used" in (await here.kube.get(path)).get("status", {})

        await until(counted, what="the quota is in force")
        async with (
            here.replica(here.settings(HELD)) as replica,
            grpc.aio.insecure_channel(replica.address) as channel,
        ):
            stub = OttoscalerServiceStub(channel)
            answer = await stub.ScaleUp(pb.ScaleRequest(task_id="much", worker_count=3), timeout=6)
            assert answer.status == Status.Value("PARTIAL_SUCCESS")
            assert answer.processed_count == 2
            assert "exceeded quota" in answer.message
            # An event waits for room instead, and a scale_down of its task ends the wait.
            await here.scale_up("waiting", 1)
            await until(lambda: "workers wait" in replica.log, what="the event waits")
            await stub.ScaleDown(pb.ScaleRequest(task_id="much", worker_count=1))
            await here.until_ran(3)
            await here.until_settled(1)
            assert {each.task_id for each in await here.workers() if each.active} == {"much", "waiting"}


IMPOSSIBLE = (
    (pb.ScaleRequest(worker_count=1), "task_id is missing"),
    (pb.ScaleRequest(task_id="   ", worker_count=1), "task_id is missing"),
    (pb.ScaleRequest(task_id="t"), "worker_count is 0: it must be at least 1"),
    (pb.ScaleRequest(task_id="t", worker_count=-5), "worker_count is -5: it must be at least 1"),
    (pb.ScaleRequest(task_id="t", worker_count=2**31 - 1), "at most 1000 workers"),
    (pb.ScaleRequest(task_id="ü" * 2000, worker_count=1), "task_id has 2000 characters"),
)


async def test_orders_that_cannot_be_meant(namespace: str, kubeconfig: Path) -> None:
    async with (
        scene(kubeconfig, namespace) as here,
        here.replica(here.settings(events=None)) as replica,
        grpc.aio.insecure_channel(replica.address) as channel,
    ):
        for request, words in IMPOSSIBLE:
            with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
                await OttoscalerServiceStub(channel).ScaleUp(request)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert await here.workers() == []
