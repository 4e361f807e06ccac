"""What the engine does with one pipeline, moment by moment, in virtual time."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.pipelines.marks import HOLDS, LEFT
from ottoscaler.orchestrator.pipelines.model import RetryRule, RunSpec, StageSpec
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.runs import Runs
from ottoscaler.orchestrator.tending.quota import Limits
from ottoscaler.runtime.kube import KubeError
from tests.orchestrator.dying import Faults
from tests.orchestrator.pipelines import NAMESPACE, PODS, RECORDS, Witness, lead, world
from tests.virtual import VirtualClock
from tests.waiting import until

FLAKY = {"mock_seconds": "1", "mock_lines": "0", "mock_failures": "1", "mock_exit_code": "7"}
BRIEF = {"mock_seconds": "1", "mock_lines": "0"}
HANGS = {"mock_seconds": "100000", "mock_lines": "0"}


async def start(cluster: MockCluster, *stages: StageSpec, follower: str = "f") -> Run:
    """Records a run as the call does."""
    spec = RunSpec(id="p", stages=stages)
    return await Runs(cluster, NAMESPACE).start(spec, at=VirtualClock().time(), follower=follower)


@asynccontextmanager
async def led(
    cluster: MockCluster, faults: Faults | None = None, limits: Limits | None = None
) -> AsyncIterator[None]:
    """A leader as long as the block."""
    leading = asyncio.create_task(lead(cluster, faults, limits=limits))
    try:
        yield
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)


async def until_over(witness: Witness) -> None:
    await until(lambda: witness.states and witness.states[-1].over, within=2000, every=0.1, what="it is over")


def statuses(witness: Witness) -> dict[str, str]:
    return {key: stage.status for key, stage in witness.states[-1].stages.items()}


@pytest.mark.looptime
async def test_a_leader_may_die_at_any_call() -> None:
    """At each call of a whole life once, before and after its effect: the next leader ends it all the same."""
    stages = (
        StageSpec(id="a", count=2, config=FLAKY, retry=RetryRule(attempts=2, delay=1)),
        StageSpec(id="b", count=1, config=BRIEF, depends_on=("a",)),
    )
    calls = 1
    at = 0
    while at < calls:
        at += 1
        for after in (False, True):
            async with world() as (cluster, witness):
                await start(cluster, *stages)
                faults = Faults(dies_at=at, after=after)
                await asyncio.wait({asyncio.create_task(lead(cluster, faults))}, timeout=30)
                calls = faults.calls if faults.calls < at else max(calls, at + 1)
                faults.dead.set()
                async with led(cluster):
                    await until_over(witness)
                    await until(lambda: not witness.pods(), within=200, every=1.0, what="no pod is left")
                assert not witness.wrong, f"died at call {at}"
                assert statuses(witness) == {"a": "COMPLETED", "b": "COMPLETED"}, f"died at call {at}"
                assert witness.born.total() == 5, f"died at call {at}"
    assert calls > 15


@pytest.mark.looptime
async def test_a_list_that_is_older_than_a_pod_does_not_make_it_gone() -> None:
    """Watches begin again all the time, with lists that lack what was created meanwhile."""
    stages = [StageSpec(id=f"s{number}", count=3, config=BRIEF) for number in range(8)]
    for number, each in enumerate(stages[1:], 1):
        stages[number] = msgspec.structs.replace(each, depends_on=(f"s{number - 1}",))
    for seed in range(4):
        async with world() as (cluster, witness):
            await start(cluster, *stages)
            async with led(cluster, Faults(random.Random(seed), relisting=0.5)):
                await until_over(witness)
            assert set(statuses(witness).values()) == {"COMPLETED"}
            assert not witness.wrong


class ReadOnlyAtTimes(MockCluster):
    """A cluster that refuses to write records while `closed`."""

    closed = False

    async def replace(self, path: str, body: Any, params: Any = None) -> Any:
        if self.closed:
            raise KubeError(status=503, reason="ServiceUnavailable", message="closed")
        return await super().replace(path, body, params)


@pytest.mark.looptime
async def test_an_ended_pod_stays_until_the_record_knows_how_it_ended() -> None:
    async with ReadOnlyAtTimes(clock=VirtualClock(), start_seconds=0.1) as cluster:
        run = await start(cluster, StageSpec(id="s", count=2, config=BRIEF))

        def phases() -> list[str]:
            return [each["status"]["phase"] for each in cluster.objects.items(PODS)]

        async with led(cluster):
            await until(lambda: phases() == ["Running"] * 2, within=10)
            cluster.closed = True
            await asyncio.sleep(30)
            assert phases() == ["Succeeded"] * 2
        cluster.closed = False
        async with led(cluster):
            await until(lambda: not phases(), within=30, what="now they may go")
        ended = await Runs(cluster, NAMESPACE).read(run.name)
        assert ended is not None
        assert ended.state.outcome == "COMPLETED"


@pytest.mark.looptime
async def test_workers_that_wait_for_the_quota_cost_no_writes() -> None:
    async with world() as (cluster, witness):
        await start(cluster, StageSpec(id="s", count=3, config=HANGS, timeout=50))
        async with led(cluster, limits=Limits(per_task=1)):
            await until(lambda: witness.alive, within=10)
            await asyncio.sleep(30)
            assert len(witness.states) <= 3, "the record is written when something has changed"
            await until_over(witness)
        assert "3 of 3 workers failed: took longer than 50 s" in witness.states[-1].stages["s"].error
        took = witness.states[-1].ended_at - witness.states[-1].started_at
        assert 150 <= took < 160, "each has its own 50 s, from its admission"


@pytest.mark.looptime
async def test_the_next_attempt_waits_until_the_last_one_has_left() -> None:
    async with MockCluster(clock=VirtualClock(), start_seconds=0.1, stop_seconds=25.0) as cluster:
        witness = Witness(cluster)
        watching = asyncio.create_task(witness.run())
        await asyncio.sleep(0)
        retry = RetryRule(attempts=2, failures=("Timeout",))
        await start(cluster, StageSpec(id="s", count=2, config=HANGS, timeout=5, retry=retry))
        async with led(cluster):
            await until_over(witness)
        watching.cancel()
        assert not witness.wrong, "no two attempts at once"
        assert witness.born.total() == 4
        assert witness.states[-1].ended_at - witness.states[-1].started_at >= 35


@pytest.mark.looptime
async def test_a_pod_that_somebody_deletes_has_failed_and_one_that_had_ended_has_not() -> None:
    async with world() as (cluster, witness):
        await start(
            cluster, StageSpec(id="kept", count=1, config=BRIEF), StageSpec(id="lost", count=1, config=HANGS)
        )
        async with led(cluster):
            await until(lambda: len(witness.alive) == 2, within=10)
            for pod in cluster.objects.items(PODS):
                if pod["metadata"]["labels"]["stage-id"] == "lost":
                    await cluster.delete(f"{PODS}/{pod['metadata']['name']}")
            await until_over(witness)
        assert statuses(witness) == {"kept": "COMPLETED", "lost": "FAILED"}
        assert witness.states[-1].stages["lost"].error == "1 of 1 workers failed: the pod is gone"


@pytest.mark.looptime
async def test_pods_whose_record_was_deleted_while_nobody_led_are_stopped() -> None:
    async with world() as (cluster, witness):
        run = await start(cluster, StageSpec(id="s", count=2, config=HANGS))
        async with led(cluster):
            await until(lambda: len(witness.alive) == 2, within=10)
        await cluster.delete(f"{RECORDS}/{run.name}")
        async with led(cluster):
            await until(lambda: not witness.pods(), within=120, every=1.0, what="no pod is left")


@pytest.mark.looptime
@pytest.mark.parametrize(
    "data", [{"state": "nonsense"}, {"run": None}, {"state": '{"started_at":1,"stages":{}}'}]
)
async def test_a_record_that_a_person_spoils_ends_its_pods(data: dict[str, Any]) -> None:
    async with world() as (cluster, witness):
        run = await start(cluster, StageSpec(id="s", count=2, config=HANGS))
        async with led(cluster):
            await until(lambda: len(witness.alive) == 2, within=10)
            await cluster.patch(f"{RECORDS}/{run.name}", {"data": data})
            await until(lambda: not witness.pods(), within=120, every=1.0, what="no pod is left")


@pytest.mark.looptime
async def test_a_run_that_was_left_ends_when_the_last_mark_does() -> None:
    async with world() as (cluster, witness):
        runs = Runs(cluster, NAMESPACE)
        run = await start(cluster, StageSpec(id="s", count=1, config=HANGS), follower="killed")
        async with led(cluster):
            await runs.mark(run, "other", at=VirtualClock().time())
            await runs.leave(run, "other")
            await asyncio.sleep(HOLDS / 2)
            assert statuses(witness) == {"s": "RUNNING"}, "the mark of a replica that was killed still holds"
            await until_over(witness)
            await until(lambda: not witness.pods(), within=10)
        assert statuses(witness) == {"s": "CANCELLED"}
        assert HOLDS <= witness.states[-1].ended_at - witness.states[-1].started_at <= HOLDS + 2


@pytest.mark.looptime
async def test_a_replica_that_shuts_down_ends_no_run_that_somebody_left_before() -> None:
    async with world() as (cluster, witness):
        runs = Runs(cluster, NAMESPACE)
        run = await start(cluster, StageSpec(id="s", count=1, config=HANGS), follower="a")
        async with led(cluster):
            await runs.mark(run, "b", at=VirtualClock().time())
            await runs.leave(run, "a")
            await runs.renew(run, "b", at=VirtualClock().time())
            await runs.unmark(run, "b")
            await asyncio.sleep(2 * HOLDS)
            assert statuses(witness) == {"s": "RUNNING"}, "the client of b was told to call again"
            await runs.mark(run, "c", at=VirtualClock().time())
            await runs.leave(run, "c")
            await until_over(witness)
        assert statuses(witness) == {"s": "CANCELLED"}


@pytest.mark.looptime
async def test_a_client_that_calls_again_takes_back_that_it_left() -> None:
    async with world() as (cluster, witness):
        runs = Runs(cluster, NAMESPACE)
        stage = StageSpec(id="s", count=1, config=HANGS)
        run = await start(cluster, stage)
        await runs.leave(run, "f")
        await start(cluster, stage)
        async with led(cluster):
            await asyncio.sleep(3 * HOLDS)
            assert statuses(witness) == {"s": "RUNNING"}
            await runs.leave(run, "f")
            await until_over(witness)
        assert statuses(witness) == {"s": "CANCELLED"}


@pytest.mark.looptime
async def test_a_renewal_that_arrives_late_does_not_take_back_that_the_last_client_left() -> None:
    async with world() as (cluster, witness):
        runs = Runs(cluster, NAMESPACE)
        run = await start(cluster, StageSpec(id="s", count=1, config=HANGS))
        await runs.leave(run, "f")
        await runs.renew(run, "f", at=VirtualClock().time())
        async with led(cluster):
            await until_over(witness)
        assert statuses(witness) == {"s": "CANCELLED"}


@pytest.mark.looptime
async def test_a_person_ends_a_run_by_an_annotation() -> None:
    async with world() as (cluster, witness):
        run = await start(cluster, StageSpec(id="s", count=1, config=HANGS))
        async with led(cluster):
            await until(lambda: witness.alive, within=10)
            note = {"metadata": {"annotations": {"ottoscaler.dev/cancel": "true"}}}
            await cluster.patch(f"{RECORDS}/{run.name}", note)
            await until_over(witness)
            await until(lambda: not witness.pods(), within=10)
        assert statuses(witness) == {"s": "CANCELLED"}


class WithMetrics(MockCluster):
    """A cluster whose workers use 0.25 cores and 64 MiB each, by metrics.k8s.io."""

    async def get(self, path: str, params: Any = None) -> Any:
        if not path.startswith("/apis/metrics.k8s.io/"):
            return await super().get(path, params)
        usage = {"cpu": "250m", "memory": "64Mi"}
        time = str(int(VirtualClock().time()) // 15)
        return {
            "items": [
                {
                    "metadata": {"name": each["metadata"]["name"]},
                    "timestamp": time,
                    "containers": [{"name": "worker", "usage": usage}],
                }
                for each in self.objects.items(PODS)
            ]
        }


@pytest.mark.looptime
async def test_cpu_and_memory_are_averaged_where_they_are_measured() -> None:
    async with WithMetrics(clock=VirtualClock(), start_seconds=0.1) as cluster:
        run = await start(cluster, StageSpec(id="s", count=2, config=BRIEF | {"mock_seconds": "100"}))
        async with led(cluster):
            runs = Runs(cluster, NAMESPACE)

            async def over() -> Run | None:
                found = await runs.read(run.name)
                return found if found is not None and found.state.over else None

            ended = await until(over, within=300, every=1.0)
        stage = ended.state.stages["s"]
        assert stage.samples >= 10
        assert stage.cpu_sum / stage.samples == pytest.approx(0.25)
        assert stage.memory_sum / stage.samples == pytest.approx(64)


@pytest.mark.looptime
async def test_a_hundred_stages_in_a_row_and_one_of_two_hundred_workers() -> None:
    row = [
        StageSpec(
            id=f"s{number}",
            count=1,
            config=BRIEF | {"mock_seconds": "0"},
            depends_on=(f"s{number - 1}",) if number else (),
        )
        for number in range(99)
    ]
    wide = StageSpec(id="wide", count=200, config=BRIEF)
    async with world() as (cluster, witness):
        await start(cluster, *reversed(row), wide)
        async with led(cluster):
            await until_over(witness)
        assert set(statuses(witness).values()) == {"COMPLETED"}
        assert not witness.wrong
        assert witness.born.total() == 299
        assert LEFT not in witness.records()[0].notes
