"""ExecutePipeline over gRPC: a server in this process, workers that are simulated, clients of every kind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from ottoscaler.orchestrator.config.model import Grpc, Http, Pipelines, Root, Workers
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.naming import run_name
from ottoscaler.orchestrator.orchestrator import Orchestrator
from ottoscaler.orchestrator.pipelines.marks import LEFT
from ottoscaler.orchestrator.pipelines.record import Run, read_record
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from tests.orchestrator.following import Told, execute
from tests.waiting import until

RECORDS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
BRIEF = {"mock_seconds": "0.05", "mock_lines": "0"}
LONG_NAME = "a-pipeline-whose-pods-have-long-names"
LONG = {"mock_seconds": "600", "mock_lines": "0"}


def stage(name: str, *after: str, workers: int = 1, **more: Any) -> pb.PipelineStage:
    more.setdefault("config", BRIEF)
    return pb.PipelineStage(stage_id=name, worker_count=workers, depends_on=after, **more)


def request(*stages: pb.PipelineStage, name: str = "p", **more: Any) -> pb.PipelineRequest:
    return pb.PipelineRequest(pipeline_id=name, stages=stages, **more)


def record(cluster: MockCluster, name: str = "p") -> Run | None:
    """The record of a pipeline's run, as the cluster has it."""
    for each in cluster.objects.items(RECORDS):
        if each["metadata"]["name"] == run_name(name):
            return read_record(each)
    return None


def pods(cluster: MockCluster) -> list[Any]:
    return list(cluster.objects.items(PODS))


@asynccontextmanager
async def replica(cluster: MockCluster, name: str = "replica-1") -> AsyncIterator[str]:
    """One orchestrator; its address."""
    settings = Root(
        grpc=Grpc(address="127.0.0.1:0"),
        http=Http(address="127.0.0.1:0"),
        workers=Workers(retain=0),  # type: ignore[arg-type]
        handler=None,
        events=None,
        pipelines=Pipelines(max_stages=20),
    )
    async with Orchestrator(settings, kube=cluster, identity=name, environ={}, clock=SYSTEM_CLOCK) as here:
        yield f"127.0.0.1:{here.grpc_port}"


@asynccontextmanager
async def cluster_of_pods() -> AsyncIterator[MockCluster]:
    async with MockCluster(start_seconds=0.01, stop_seconds=0.01) as cluster:
        yield cluster


async def refused(address: str, asked: pb.PipelineRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(address, asked, Told())
    return caught.value.code(), caught.value.details() or ""


async def test_a_pipeline_that_cannot_be_meant_is_refused_by_its_stage() -> None:
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        for asked, words in [
            (request(), "no stages"),
            (request(stage("build"), stage("test", "biuld")), "stage 'test' depends on 'biuld'"),
            (request(stage("a", "b"), stage("b", "a")), "stages wait for each other: a → b → a"),
            (request(stage("build"), stage("build")), "stage 'build' is there twice"),
            (request(stage("build", image="Not/An Image")), "stage 'build': image 'Not/An Image'"),
            (request(stage("build", workers=0)), "stage 'build': worker_count is 0"),
            (request(stage("build", retry_policy=pb.RetryPolicy(max_attempts=-1))), "stage 'build': max_att"),
            (request(*(stage(f"s{number}") for number in range(21))), "21 stages: at most 20"),
        ]:
            code, details = await refused(address, asked)
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert words in details
        assert not pods(cluster)
        assert record(cluster) is None


async def test_the_same_call_again_follows_the_run_that_is_there() -> None:
    facts = {str(number): "x" for number in range(20)}
    asked = request(stage("one", workers=2), stage("two", "one"), metadata=facts)
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        first, second = Told(), Told()
        again = request(*asked.stages, metadata=dict(reversed(facts.items())))
        await asyncio.gather(execute(address, asked, first), execute(address, again, second))
        third = Told()
        await execute(address, asked, third)
        for told in (first, second, third):
            assert told.of("") == ["STAGE_RUNNING", "STAGE_COMPLETED"]
            for name in ("one", "two"):
                assert told.of(name) == ["STAGE_RUNNING", "STAGE_COMPLETED"]
                assert told.last(name).worker_pod_names == first.last(name).worker_pod_names
        code, details = await refused(address, request(stage("one", workers=3)))
        assert code == grpc.StatusCode.ALREADY_EXISTS
        assert "'p' belongs to a run that has ended with another definition: use another id" in details


async def test_a_client_that_goes_away_leaves_the_run_to_those_who_follow_it() -> None:
    asked = request(stage("long", config={"mock_seconds": "0.6", "mock_lines": "0"}), stage("next", "long"))
    async with (
        cluster_of_pods() as cluster,
        replica(cluster) as address,
        replica(cluster, "replica-2") as other,
    ):
        begun, here, there = Told(), Told(), Told()
        beginner = asyncio.create_task(execute(address, asked, begun))
        await until(lambda: begun.of("long"), what="the first client is told")
        followers = [
            asyncio.create_task(execute(each, asked, told))
            for each, told in ((address, here), (other, there))
        ]
        await until(lambda: here.messages and there.messages, what="the others are told too")
        beginner.cancel()
        await asyncio.wait({beginner})
        followers[0].cancel()
        await asyncio.wait({followers[0]})
        await asyncio.wait_for(followers[1], 30)
        assert there.of("next") == ["STAGE_RUNNING", "STAGE_COMPLETED"]
        assert there.last("").status == pb.STAGE_COMPLETED


async def test_the_last_client_that_goes_away_ends_the_run() -> None:
    asked = request(stage("long", workers=3, config=LONG), stage("next", "long"))
    async with (
        cluster_of_pods() as cluster,
        replica(cluster) as address,
        replica(cluster, "replica-2") as other,
    ):
        told = {each: Told() for each in (address, other)}
        clients = [asyncio.create_task(execute(each, asked, told[each])) for each in told]
        await until(lambda: all(each.of("long") for each in told.values()), what="both follow")
        await until(lambda: all(each["status"]["phase"] == "Running" for each in pods(cluster)))
        clients[0].cancel()
        await asyncio.wait({clients[0]})

        def one_has_left() -> bool:
            run = record(cluster)
            return run is not None and run.notes.get(LEFT) == "true"

        await until(one_has_left, what="the leader knows that one has left")
        assert [each["status"]["phase"] for each in pods(cluster)] == ["Running"] * 3
        clients[1].cancel()
        await asyncio.wait({clients[1]})
        await until(lambda: not pods(cluster), what="no pod is left")
        after = Told()
        await asyncio.wait_for(execute(other, asked, after), 30)
        assert after.of("long") == ["STAGE_RUNNING", "STAGE_CANCELLED"]
        assert after.of("next") == ["STAGE_CANCELLED"]
        assert after.last("").status == pb.STAGE_CANCELLED


async def test_a_rolling_restart_ends_no_run_of_which_one_client_has_left() -> None:
    asked = request(stage("long", config=LONG))
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        left, stays, again = Told(), Told(), Told()
        async with replica(cluster, "replica-2") as other:
            leaving = asyncio.create_task(execute(address, asked, left))
            staying = asyncio.create_task(execute(other, asked, stays))
            await until(lambda: left.of("long") and stays.of("long"), what="both follow")
            leaving.cancel()
            await asyncio.wait({leaving})

            def one_has_left() -> bool:
                run = record(cluster)
                return run is not None and run.notes.get(LEFT) == "true"

            await until(one_has_left)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await staying
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        following = asyncio.create_task(execute(address, asked, again))
        await until(lambda: again.of("long"), what="it follows again")
        assert again.of("long") == ["STAGE_RUNNING"]
        assert [each["status"]["phase"] for each in pods(cluster)] == ["Running"]
        following.cancel()
        await until(lambda: not pods(cluster), what="now nobody follows")


async def test_a_deadline_that_passes_ends_the_run_too() -> None:
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            call = OttoscalerServiceStub(channel).ExecutePipeline(
                request(stage("long", config=LONG)), timeout=0.5
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in call:
                    pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

        def over() -> bool:
            run = record(cluster)
            return run is not None and run.state.outcome == "CANCELLED" and not pods(cluster)

        await until(over, what="it was cancelled")


async def test_a_client_that_goes_away_before_it_is_answered_leaves_nothing() -> None:
    class Slow(MockCluster):
        async def create(self, path: str, body: Any, params: Any = None) -> Any:
            made = await super().create(path, body, params)
            if path == RECORDS and "run" in body.get("data", {}):
                await asyncio.sleep(0.05)
                creating.set()
                await answered.wait()
            return made

    creating, answered = asyncio.Event(), asyncio.Event()
    async with Slow(start_seconds=0.01, stop_seconds=0.01) as cluster, replica(cluster) as address:
        client = asyncio.create_task(execute(address, request(stage("long", config=LONG)), Told()))
        await creating.wait()
        client.cancel()
        await asyncio.wait({client})
        answered.set()

        def over() -> bool:
            run = record(cluster)
            return run is not None and run.state.over and not pods(cluster)

        await until(over, what="the run was ended")


async def test_a_client_that_reads_slowly_is_told_everything_and_holds_up_nothing() -> None:
    """Its run retries many times while it does not read at all; its messages exceed what the network holds."""
    names = [f"a-stage-of-{number}" for number in range(3)]
    flaky = BRIEF | {"mock_seconds": "0", "mock_failures": "3"}
    policy = pb.RetryPolicy(max_attempts=4)
    asked = request(
        *(stage(name, workers=80, config=flaky, retry_policy=policy) for name in names), name=LONG_NAME
    )
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        options = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call: Any = OttoscalerServiceStub(channel).ExecutePipeline(asked)
            told = Told([await call.read()])
            assert told.of("") == ["STAGE_RUNNING"]

            def over() -> bool:
                run = record(cluster, LONG_NAME)
                return run is not None and run.state.over

            await until(over, within=120, what="the run is over, though nobody has read of it")
            while (progress := await call.read()) is not grpc.aio.EOF:
                told.messages.append(progress)
        retried = ["STAGE_RUNNING", "STAGE_RETRYING"] * 3
        for name in names:
            assert told.of(name) == [*retried, "STAGE_RUNNING", "STAGE_COMPLETED"]
        assert told.last("").progress_percentage == 100


async def test_a_record_that_a_person_deletes_ends_the_run_and_stops_its_pods() -> None:
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        client = asyncio.create_task(refused(address, request(stage("long", workers=2, config=LONG))))
        await until(lambda: len(pods(cluster)) == 2, what="the stage runs")
        await cluster.delete(f"{RECORDS}/{run_name('p')}")
        assert await client == (grpc.StatusCode.ABORTED, "the record of the run was deleted")
        await until(lambda: not pods(cluster), what="no pod is left")


async def test_a_config_map_in_the_way_is_named() -> None:
    async with cluster_of_pods() as cluster, replica(cluster) as address:
        await cluster.create(RECORDS, {"metadata": {"name": run_name("p")}, "data": {"x": "y"}})
        code, details = await refused(address, request(stage("a")))
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert details == f"ConfigMap {run_name('p')} stands in the way and holds no run: delete it"


async def test_a_client_of_a_replica_that_goes_away_is_told_to_call_again() -> None:
    asked = request(stage("one", config={"mock_seconds": "0.5"}), stage("two", "one"))
    async with cluster_of_pods() as cluster, replica(cluster, "replica-2") as other:
        async with replica(cluster) as address:
            client = asyncio.create_task(refused(address, asked))
            await until(lambda: pods(cluster), what="the first stage runs")
        code, details = await client
        assert code == grpc.StatusCode.UNAVAILABLE
        assert "call again with the same pipeline_id" in details
        told = Told()
        await asyncio.wait_for(execute(other, asked, told), 30)
        assert told.last("").status == pb.STAGE_COMPLETED
