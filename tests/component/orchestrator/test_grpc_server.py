"""The gRPC server: health, reflection, limits, and an error for each kind of trouble that says what to do."""

import asyncio
import socket
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.server import CannotServe
from ottoscaler.runtime.kube import KubeError
from tests.component.orchestrator.mocked import Calls, Faulty, mocked, serving, settings, workers
from tests.waiting import until

SERVICES = ("", "ottoscaler.v1.OttoscalerService", "ottoscaler.v1.LogStreamingService")
AWAY = KubeError(status=0, reason="Unreachable", message="connection refused by 10.0.0.1")
Status = health_pb2.HealthCheckResponse


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call ended that had to fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def health(calls: Calls) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(calls.channel)


async def test_every_service_is_healthy_and_others_are_unknown() -> None:
    async with mocked() as (calls, _):
        for service in SERVICES:
            answer = await health(calls).Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == Status.SERVING
        code, _ = await refused(health(calls).Check(health_pb2.HealthCheckRequest(service="other")))
        assert code == grpc.StatusCode.NOT_FOUND


async def test_who_watches_the_health_is_told_of_the_end_before_the_connection_ends() -> None:
    async with MockCluster() as cluster:
        seen: dict[str, list[int]] = {service: [] for service in SERVICES}
        async with serving(cluster, settings()) as calls:
            channel = grpc.aio.insecure_channel(calls.address)
            stub = health_pb2_grpc.HealthStub(channel)

            async def follow(service: str) -> None:
                try:
                    async for answer in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
                        seen[service].append(answer.status)
                except grpc.aio.AioRpcError:
                    pass

            following = [asyncio.create_task(follow(service)) for service in SERVICES]
            await until(lambda: all(seen.values()), what="the first state is told")
        await asyncio.gather(*following)
        await channel.close()
    assert set(map(tuple, seen.values())) == {(Status.SERVING, Status.NOT_SERVING)}


async def test_a_method_that_nobody_serves() -> None:
    async with mocked() as (calls, _):
        call: Any = calls.channel.unary_unary("/ottoscaler.v1.OttoscalerService/ScaleSideways")
        assert (await refused(call(b"")))[0] == grpc.StatusCode.UNIMPLEMENTED


async def test_bytes_that_are_no_message_are_refused_in_words() -> None:
    async with mocked() as (calls, cluster):
        for method in ("ScaleUp", "ScaleDown", "GetWorkerStatus"):
            call: Any = calls.channel.unary_unary(f"/ottoscaler.v1.OttoscalerService/{method}")
            code, words = await refused(call(b"\x0a\xff\xff"))
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert words.startswith("the request is no ottoscaler.v1.")
        call = calls.channel.unary_unary("/ottoscaler.v1.LogStreamingService/RegisterWorker")
        assert (await refused(call(b"\x0a\x02\xff\xfe")))[0] == grpc.StatusCode.INVALID_ARGUMENT
        call = calls.channel.stream_stream("/ottoscaler.v1.LogStreamingService/StreamLogs")
        assert (await refused(anext(aiter(call([b"\xff"])))))[0] == grpc.StatusCode.INVALID_ARGUMENT
        call = calls.channel.unary_stream("/ottoscaler.v1.OttoscalerService/ExecutePipeline")
        assert (await refused(anext(aiter(call(b"\xff")))))[0] == grpc.StatusCode.INVALID_ARGUMENT
        assert not workers(cluster)


async def test_a_message_that_is_too_large() -> None:
    async with mocked(grpc={"maxMessageBytes": 2048}) as (calls, cluster):
        request = pb.ScaleRequest(task_id="t", worker_count=1, reason="x" * 4096)
        code, words = await refused(calls.scaling.ScaleUp(request))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2048" in words
        assert not workers(cluster)


async def test_more_calls_at_once_than_allowed() -> None:
    async with mocked(grpc={"maxConcurrentCalls": 1}) as (calls, _):
        stream = calls.logs.StreamLogs()
        await stream.write(pb.LogEntry(worker_id="w", task_id="t"))
        await stream.read()
        code, _ = await refused(calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest()))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF

        async def again() -> bool:
            try:
                await calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest())
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(again, what="there is room for another")


async def test_a_silent_connection_is_asked_whether_it_lives() -> None:
    async with mocked(grpc={"keepalive": "1s"}) as (calls, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", calls.orchestrator.grpc_port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kind=4))
        async with asyncio.timeout(10):
            while (await read_frame(reader)) != (6, 0):
                pass
        writer.close()
        await writer.wait_closed()


def frame(*, kind: int, flags: int = 0, body: bytes = b"") -> bytes:
    """An HTTP/2 frame of stream 0 (RFC 9113, section 4.1)."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + body


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Kind and flags of the next frame: 6 is PING, and 0 that it is no answer to one."""
    head = await reader.readexactly(9)
    await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4]


async def test_an_address_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CannotServe, match=f"grpc.address {address} cannot be served"):
            async with mocked(grpc={"address": address}):
                pass


async def test_a_cluster_that_is_away_ends_a_call_before_its_deadline() -> None:
    async with MockCluster() as cluster:
        faulty = Faulty(cluster)
        async with serving(faulty, settings()) as calls:
            faulty.fault = lambda verb, path: AWAY if path.endswith("/pods") else None
            request = pb.ScaleRequest(task_id="t", worker_count=2)
            for call in (
                calls.scaling.ScaleUp(request, timeout=1.6),
                calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest(), timeout=1.6),
            ):
                code, words = await refused(call)
                assert code == grpc.StatusCode.UNAVAILABLE
                assert words.endswith("try again")
                assert "10.0.0.1" not in words, "what the backend says stays here"
            faulty.fault = lambda verb, path: None
            answer = await calls.scaling.ScaleUp(request)
            assert answer.status == pb.ScaleResponse.SUCCESS


async def test_what_the_api_refuses_for_good_is_told_with_its_reason() -> None:
    async with MockCluster() as cluster:
        faulty = Faulty(cluster)
        async with serving(faulty, settings()) as calls:
            denied = KubeError(status=403, reason="Forbidden", message='admission webhook "policy" denied')
            faulty.fault = lambda verb, path: denied if (verb, path[-5:]) == ("create", "/pods") else None
            answer = await calls.scaling.ScaleUp(pb.ScaleRequest(task_id="t", worker_count=2))
            assert answer.status == pb.ScaleResponse.FAILED
            assert "denied" in answer.message
            assert (answer.processed_count, list(answer.worker_pod_names)) == (0, [])
            faulty.fault = lambda verb, path: denied if (verb, path[-5:]) == ("get", "/pods") else None
            code, words = await refused(calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest()))
            assert code == grpc.StatusCode.FAILED_PRECONDITION
            assert "denied" in words


async def test_an_error_that_nobody_expected_says_nothing_of_itself() -> None:
    async with MockCluster() as cluster:
        faulty = Faulty(cluster)
        async with serving(faulty, settings()) as calls:

            def broken(verb: str, path: str) -> KubeError | None:
                if (verb, path[-5:]) == ("get", "/pods"):
                    raise RuntimeError("a secret")
                return None

            faulty.fault = broken
            code, words = await refused(calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest()))
            assert code == grpc.StatusCode.INTERNAL
            assert "secret" not in words
            assert (
                calls.metric("otto_grpc_request_seconds_count", method="GetWorkerStatus", code="INTERNAL")
                == 1
            )


async def test_an_order_whose_caller_hangs_up_is_carried_out_whole() -> None:
    async with MockCluster() as cluster:
        faulty = Faulty(cluster)
        async with serving(faulty, settings()) as calls:
            tried = 0

            def away_at_first(verb: str, path: str) -> KubeError | None:
                nonlocal tried
                if (verb, path[-5:]) == ("create", "/pods"):
                    tried += 1
                    return AWAY if tried < 4 else None
                return None

            faulty.fault = away_at_first
            request = pb.ScaleRequest(task_id="t", worker_count=3, build_config={"mock_seconds": "600"})
            call = calls.scaling.ScaleUp(request)
            sending = asyncio.ensure_future(call)
            await until(lambda: tried, what="it has begun")
            call.cancel()
            await asyncio.wait({sending})
            assert sending.cancelled()
            await until(lambda: len(workers(cluster)) == 3, what="all three exist")


async def test_many_calls_at_once_are_all_answered() -> None:
    async with mocked() as (calls, cluster):
        requests = [
            pb.ScaleRequest(task_id=f"t-{number}", worker_count=1, build_config={"mock_seconds": "600"})
            for number in range(100)
        ]
        answers = await asyncio.gather(*(calls.scaling.ScaleUp(request) for request in requests))
        assert {answer.status for answer in answers} == {pb.ScaleResponse.SUCCESS}
        assert len({answer.worker_pod_names[0] for answer in answers}) == 100
        status = await calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest())
        assert status.total_count == 100 == len(workers(cluster))
        none = await calls.scaling.GetWorkerStatus(pb.WorkerStatusRequest(task_id="other"))
        assert none.total_count == 0
