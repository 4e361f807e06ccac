"""What goes wrong between here and Firestore becomes a failure in words, and never a number."""

import contextlib
import dataclasses
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.cloud.firestore_v1.types import AggregationResult, RunAggregationQueryResponse

from ottoscaler.adapter.reading import ReadFailure
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firestore import BACKEND, connect
from ottoscaler.runtime.clock import SystemClock
from tests.component.adapter.running import ottoscaler
from tests.component.firestore.harness import connected, fill, measure, queue
from tests.faults.proxy import Fault, FaultProxy
from tests.firestore.emulator import Emulator
from tests.firestore.proxy import FaultyProxy, GrpcFault
from tests.sources import running as supervised
from tests.sources import source_of

INDEX_TEXT = (
    "The query requires an index. You can create it here: https://console.example/?create_composite=abc"
)


def status(code: grpc.StatusCode, text: str = "backend text with 10.0.0.1", method: str = "") -> GrpcFault:
    return GrpcFault(what="status", code=code, text=text, method=method)


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (status(grpc.StatusCode.UNAVAILABLE), "unreachable", "cannot be reached"),
        (status(grpc.StatusCode.DEADLINE_EXCEEDED), "unreachable", "in time"),
        (status(grpc.StatusCode.INTERNAL), "unreachable", "failed"),
        (status(grpc.StatusCode.UNAUTHENTICATED), "unauthorized", "refused the credential"),
        (status(grpc.StatusCode.PERMISSION_DENIED), "forbidden", "Datastore Viewer"),
        (status(grpc.StatusCode.NOT_FOUND), "missing", "no such project"),
        (status(grpc.StatusCode.RESOURCE_EXHAUSTED), "limited", "limits reads"),
        (status(grpc.StatusCode.INVALID_ARGUMENT), "invalid", "did not understand"),
        (status(grpc.StatusCode.FAILED_PRECONDITION), "error", "FAILED_PRECONDITION"),
        (status(grpc.StatusCode.DATA_LOSS), "error", "DATA_LOSS"),
        (
            status(
                grpc.StatusCode.UNAVAILABLE, "Getting metadata from plugin failed with error: invalid_grant"
            ),
            "unauthorized",
            "check the service account",
        ),
        (GrpcFault(what="silent"), "unreachable", "in time"),
        (GrpcFault(what="garbage", method="RunQuery"), "invalid", "makes no sense"),
        (GrpcFault(what="garbage", method="RunAggregationQuery"), "invalid", "makes no sense"),
        (GrpcFault(what="empty", method="RunAggregationQuery"), "invalid", "makes no sense"),
        (GrpcFault(what="cut", method="RunQuery"), "unreachable", "cannot be reached"),
        (GrpcFault(what="cut", method="RunAggregationQuery"), "unreachable", "cannot be reached"),
    ],
)
async def test_one_fault(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fault: GrpcFault, code: str, words: str
) -> None:
    async with FaultyProxy(emulator.address).running() as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
        async with connected(project) as client:
            patient = queue(project, timeout=30.0)
            assert (await measure(client, patient)).waiting == 0
            proxy.add(fault)
            with pytest.raises(SourceError, match=words) as raised:
                await measure(client, queue(project, timeout=1.0) if fault.what == "silent" else patient)
            assert raised.value.code == code
            assert "10.0.0.1" not in str(raised.value)
            assert (await measure(client, patient)).waiting == 0


async def test_counts_that_contradict_one_another_are_refused(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(project) as client:
        await fill(client, {"a": {"assignedPodId": "pod-1"}, "b": {"assignedPodId": "pod-1"}})
    async with FaultyProxy(emulator.address).running() as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
        async with connected(project) as client:
            five = RunAggregationQueryResponse(
                result=AggregationResult(aggregate_fields={"n": {"integer_value": 5}}),
                read_time=datetime.now(UTC),
            )
            answer = RunAggregationQueryResponse.serialize(five)
            proxy.add(GrpcFault(what="instead", answer=answer, mentions=b"failed"))
            with pytest.raises(SourceError, match="contradict one another"):
                await measure(client, queue(project))


async def test_a_missing_index_is_named_as_the_command_that_creates_it(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(project) as client:
        await fill(client, {"a": {"status": "pending", "createdAt": 1_790_000_000_000}})
    async with FaultyProxy(emulator.address).running() as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
        async with connected(project) as client:
            for settings, fault_at, commands in (
                ({"waiting": "status"}, 5, 2),
                ({"waiting": "status", "historic_fields": False, "database": "other"}, 5, 1),
            ):
                there = queue(project, **settings)
                delays = [GrpcFault(what="delay", seconds=0.0)] * fault_at
                proxy.add(*delays, status(grpc.StatusCode.FAILED_PRECONDITION, INDEX_TEXT, "RunQuery"))
                with pytest.raises(SourceError) as raised:
                    await measure(client, there)
                proxy.clear()
                assert raised.value.code == "missing"
                found = re.findall(r"`(gcloud firestore indexes composite create[^`]*)`", str(raised.value))
                assert len(found) == commands
                assert "--collection-group=requestedJobs" in found[0]
                assert (
                    "--field-config=field-path=status,order=ascending "
                    "--field-config=field-path=createdAt,order=ascending"
                ) in found[0]
                assert "https://" not in str(raised.value)
                assert ("--database=other" in found[0]) == ("database" in settings)


async def test_the_library_does_not_retry(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FaultyProxy(emulator.address).running() as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", proxy.address)
        async with connected(project) as client:
            proxy.add(status(grpc.StatusCode.UNAVAILABLE))
            with pytest.raises(SourceError):
                await measure(client, queue(project))
            assert proxy.calls.total() == 1


async def test_the_doctor_names_the_index(tmp_path: Path, project: str, emulator: Emulator) -> None:
    async with connected(project) as client:
        await fill(client, {"a": {"status": "pending", "createdAt": 1_790_000_000_000}})
    config = tmp_path / "c.yaml"
    block = f"{{project: {project}, collection: requestedJobs, waiting: status, historicFields: false}}"
    config.write_text(f"queues: [{{name: jobs, firestore: {block}}}]\n")
    async with FaultyProxy(emulator.address).running() as proxy:
        environ = {**os.environ, "FIRESTORE_EMULATOR_HOST": proxy.address}
        counts = [GrpcFault(what="delay", seconds=0.0)] * 5
        proxy.add(*counts, status(grpc.StatusCode.FAILED_PRECONDITION, INDEX_TEXT, "RunQuery"))
        ended = await ottoscaler("doctor", "--config", config, environ=environ)
    assert ended.status == 1
    assert (
        "queue jobs: its collection lacks a composite index: run `gcloud firestore indexes composite create "
        f"--project={project} --collection-group=requestedJobs --query-scope=collection "
        "--field-config=field-path=status,order=ascending "
        "--field-config=field-path=createdAt,order=ascending`"
    ) in ended.err


async def test_a_connection_that_went_dead_is_replaced(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FaultProxy("127.0.0.1", emulator.port) as proxy:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{proxy.port}")
        there = dataclasses.replace(queue(project, timeout=1.0), interval=10.0)
        async with supervised(source_of(BACKEND, [there], clock=HurriedClock())) as published:
            await published.reading("q")
            await proxy.inflict(Fault.SILENCE)
            failure = await published.next("q")
            while not isinstance(failure, ReadFailure):
                failure = await published.next("q")
            assert failure.code == "unreachable"
            await proxy.heal()  # but the connection stays dead
            await published.reading("q")
            assert proxy.accepted >= 2


async def test_a_client_that_is_made_anew_does_not_get_the_connection_of_the_old_one(
    project: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = queue(project)
    async with FaultProxy("127.0.0.1", emulator.port) as proxy, contextlib.AsyncExitStack() as stack:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{proxy.port}")
        for number in (1, 2, 3):
            client = connect(there.settings)
            stack.push_async_callback(client._firestore_api.transport.close)
            assert (await measure(client, there)).waiting == 0
            assert proxy.accepted == number


class HurriedClock(SystemClock):
    """Intervals and delays pass fifty times as fast."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)
