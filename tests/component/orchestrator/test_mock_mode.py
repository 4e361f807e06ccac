"""Mock mode: the same API without a cluster, for who writes a client; started as people start it.

The client here knows nothing of ours: its messages and methods are made from what reflection says.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.orchestrator.replica import ROOT
from tests.ports import free_port
from tests.waiting import until

SERVICE = "ottoscaler.v1.OttoscalerService"
Json = dict[str, Any]


class StockClient:
    """A client of any server that has reflection: requests and answers are JSON."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._pool = descriptor_pool.DescriptorPool()

    async def learn(self) -> list[str]:
        """Asks what there is; the names of the services."""
        stub = reflection_pb2_grpc.ServerReflectionStub(self._channel)
        stream: Any = stub.ServerReflectionInfo()
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = [each.name for each in (await stream.read()).list_services_response.service]
        known: set[str] = set()
        for service in services:
            request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
            await stream.write(request)
            for data in (await stream.read()).file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                if file.name not in known:
                    known.add(file.name)
                    self._pool.Add(file)
        await stream.done_writing()
        return services

    def _method(self, service: str, name: str) -> tuple[Any, str, Any]:
        method = self._pool.FindServiceByName(service).methods_by_name[name]
        answer = message_factory.GetMessageClass(method.output_type)
        request = message_factory.GetMessageClass(method.input_type)
        return request, f"/{service}/{name}", answer

    async def call(self, service: str, method: str, body: Json) -> Json:
        request, path, answer = self._method(service, method)
        call: Any = self._channel.unary_unary(path, request.SerializeToString, answer.FromString)
        return _shown(await call(ParseDict(body, request()), wait_for_ready=True, timeout=30))

    async def stream(self, service: str, method: str, body: Json) -> AsyncIterator[Json]:
        request, path, answer = self._method(service, method)
        call: Any = self._channel.unary_stream(path, request.SerializeToString, answer.FromString)
        async for each in call(ParseDict(body, request()), timeout=30):
            yield _shown(each)


def _shown(message: Any) -> Json:
    shown: Json = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return shown


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[tuple[StockClient, asyncio.subprocess.Process]]:
    """`GRPC_MOCK_MODE=true ottoscaler orchestrator`, with nothing else than free ports."""
    port = free_port()
    variables = {
        "GRPC_MOCK_MODE": "true",
        "GRPC_PORT": str(port),
        "ORCHESTRATOR_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ottoscaler", "orchestrator"),
            cwd=ROOT,
            env=kept | variables,
            stdout=log,
            stderr=log,
        )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 30)
            yield StockClient(channel), process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_client_made_from_reflection_walks_through_everything(tmp_path: Path) -> None:
    async with started(tmp_path) as (client, process):
        services = await client.learn()
        assert {SERVICE, "ottoscaler.v1.LogStreamingService", "grpc.health.v1.Health"} <= set(services)
        healthy = await client.call("grpc.health.v1.Health", "Check", {})
        assert healthy["status"] == "SERVING"

        order = {"task_id": "t", "worker_count": 3, "build_config": {"mock_seconds": "30"}}
        made = await client.call(SERVICE, "ScaleUp", order | {"metadata": {"request_id": "r-1"}})
        assert (made["status"], made["processed_count"]) == ("SUCCESS", 3)
        again = await client.call(SERVICE, "ScaleUp", order | {"metadata": {"request_id": "r-1"}})
        assert again["status"] == "ALREADY_PROCESSED"
        assert again["worker_pod_names"] == made["worker_pod_names"]

        async def running() -> Json | None:
            found = await client.call(SERVICE, "GetWorkerStatus", {"task_id": "t"})
            return found if found["running_count"] == 3 else None

        found = await until(running, what="three workers run")
        assert [each["pod_name"] for each in found["workers"]] == made["worker_pod_names"]
        assert {each["node_name"] for each in found["workers"]} == {"mock-node"}

        fewer = await client.call(SERVICE, "ScaleDown", {"task_id": "t", "worker_count": 1})
        assert (fewer["status"], fewer["processed_count"]) == ("SUCCESS", 2)

        stages = [
            {"stage_id": "build", "worker_count": 1, "config": {"mock_seconds": "0.1"}},
            {
                "stage_id": "test",
                "worker_count": 2,
                "depends_on": ["build"],
                "config": {"mock_seconds": "0.1", "mock_exit_code": "3"},
            },
            {"stage_id": "deploy", "worker_count": 1, "depends_on": ["test"]},
        ]
        seen: dict[str, list[str]] = {}
        async for told in client.stream(SERVICE, "ExecutePipeline", {"pipeline_id": "p", "stages": stages}):
            seen.setdefault(told["stage_id"], []).append(told["status"])
        assert seen["build"][-1] == "STAGE_COMPLETED"
        assert seen["test"][-1] == "STAGE_FAILED"
        assert seen["deploy"][-1] == "STAGE_SKIPPED"

        joined = await client.call(
            "ottoscaler.v1.LogStreamingService", "RegisterWorker", {"worker_id": "w", "task_id": "t"}
        )
        assert (joined["status"], len(joined["session_id"])) == ("SUCCESS", 32)

        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_a_worker_that_fails_is_shown_as_such(tmp_path: Path) -> None:
    async with started(tmp_path) as (client, _):
        await client.learn()
        order = {"mock_seconds": "0.05", "mock_exit_code": "3"}
        await client.call(SERVICE, "ScaleUp", {"task_id": "t", "worker_count": 1, "build_config": order})

        async def failed() -> Json | None:
            found = await client.call(SERVICE, "GetWorkerStatus", {"status_filter": "failed"})
            return found if found["failed_count"] else None

        (worker,) = (await until(failed, what="the worker has failed"))["workers"]
        assert worker["error_message"] == "exited with code 3"
