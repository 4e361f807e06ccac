"""The engine with everything around it, in a simulated cluster and in virtual time: whatever graph, whatever
fails, whenever it dies, a pipeline comes to the end that its workers deserve, and nothing is left behind."""

import asyncio
import itertools
import os
import random
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import looptime
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.pipelines.failures import TIMEOUT
from ottoscaler.orchestrator.pipelines.model import FINAL
from ottoscaler.orchestrator.pipelines.runs import Runs
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.pipelines import PipelineCalls
from ottoscaler.orchestrator.tending.quota import Limits
from tests.orchestrator.dying import Faults
from tests.orchestrator.pipelines import NAMESPACE, Listener, Witness, lead, world
from tests.virtual import VirtualClock
from tests.waiting import until

EXAMPLES = int(os.environ.get("PIPELINE_EXAMPLES", "60"))
"""`make proof-pipelines` plays thousands."""


@dataclass(frozen=True)
class Scenario:
    """A pipeline, how it should end, and what happens on the way."""

    request: pb.PipelineRequest
    expected: dict[str, str]
    seed: int
    deaths: tuple[int, ...] = ()
    failing: float = 0.0
    relisting: float = 0.0
    cancel_after: float | None = None
    reads_every: float = 0.0
    limits: Limits | None = None


def stage(name: str, workers: int = 1, after: tuple[str, ...] = (), **more: Any) -> pb.PipelineStage:
    return pb.PipelineStage(stage_id=name, worker_count=workers, depends_on=after, **more)


@st.composite
def stages(draw: st.DrawFn, name: str, before: list[str]) -> tuple[pb.PipelineStage, bool]:
    """A stage and whether it completes when it runs."""
    attempts = draw(st.integers(1, 3))
    fate = draw(st.sampled_from(["ok", "ok", "ok", "flaky", "fails", "hangs"]))
    code, failures = 3, draw(st.integers(1, 3)) if fate == "flaky" else 0
    retryable = draw(st.sampled_from([[], ["3"], ["1-5"], ["Error"], ["phase:Failed"], ["4"], [TIMEOUT]]))
    config = {"mock_seconds": str(draw(st.sampled_from([0.0, 0.5, 4.0]))), "mock_lines": "0"}
    match fate:
        case "flaky":
            config |= {"mock_failures": str(failures), "mock_exit_code": str(code)}
        case "fails":
            config["mock_exit_code"] = str(code)
        case "hangs":
            config["mock_seconds"] = "100000"
    policy = pb.RetryPolicy(
        max_attempts=attempts,
        retry_delay_seconds=draw(st.sampled_from([0, 0, 1, 4])),
        retryable_failures=retryable,
    )
    after = draw(st.sets(st.sampled_from(before))) if before else set()
    made = stage(
        name,
        draw(st.integers(1, 3)),
        tuple(sorted(after)),
        config=config,
        retry_policy=policy,
        timeout_seconds=7 if fate == "hangs" else draw(st.sampled_from([0, 60])),
    )
    retried = not retryable or retryable[0] not in {"4", TIMEOUT}
    return made, fate == "ok" or (fate == "flaky" and retried and failures < attempts)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Graphs without cycles, given in any order."""
    made: list[pb.PipelineStage] = []
    expected: dict[str, str] = {}
    for number in range(draw(st.integers(1, 5))):
        each, completes = draw(stages(f"s{number}", [one.stage_id for one in made]))
        made.append(each)
        blocked = any(expected[before] != "COMPLETED" for before in each.depends_on)
        expected[each.stage_id] = "SKIPPED" if blocked else "COMPLETED" if completes else "FAILED"
    return Scenario(
        request=pb.PipelineRequest(pipeline_id="p", stages=draw(st.permutations(made))),
        expected=expected,
        seed=draw(st.integers(0, 2**20)),
        deaths=tuple(draw(st.lists(st.integers(1, 60), max_size=4))),
        failing=draw(st.sampled_from([0.0, 0.0, 0.1, 0.3])),
        relisting=draw(st.sampled_from([0.0, 0.0, 0.3])),
        cancel_after=draw(st.sampled_from([None, None, None, 0.0, 0.3, 2.0, 9.0])),
        reads_every=draw(st.sampled_from([0.0, 0.0, 1.0, 30.0])),
        limits=draw(st.sampled_from([None, None, Limits(per_task=1), Limits(total=2)])),
    )


async def lives(cluster: MockCluster, scenario: Scenario) -> None:
    """One leader after the other: each dies at the call that is its own, the last one stays."""
    rng = random.Random(scenario.seed)
    for at in (*scenario.deaths, None):
        faults = Faults(
            rng, at, after=rng.random() < 0.5, failing=scenario.failing, relisting=scenario.relisting
        )
        await lead(cluster, faults, limits=scenario.limits)
        await asyncio.sleep(rng.choice((0.0, 1.0, 20.0)))


async def play(scenario: Scenario) -> tuple[Listener, Witness]:
    """The whole of it: until the record is gone, and every pod."""
    async with world() as (cluster, witness):
        clock = VirtualClock()
        runs = Runs(cluster, NAMESPACE)
        calls = PipelineCalls(runs, identity="front", max_stages=10, max_workers=10, clock=clock)
        watching = asyncio.create_task(runs.run())
        leading = asyncio.create_task(lives(cluster, scenario))
        listener = Listener(scenario.reads_every)
        context: Any = listener
        call = asyncio.create_task(calls.execute(scenario.request, context))
        await asyncio.wait({call}, timeout=scenario.cancel_after)
        call.cancel()
        await asyncio.wait({call})

        def all_gone() -> bool:
            return bool(witness.states) and not witness.records() and not witness.pods()

        def over() -> bool:
            return leading.done() or all_gone()

        try:
            await until(over, within=1000, every=1.0, what="record and pods are gone")
        except AssertionError as error:
            error.add_note(f"left: {witness.pods()}, {witness.states[-1:]}")
            raise
        finally:
            for task in (leading, watching):
                task.cancel()
            await asyncio.gather(leading, watching, return_exceptions=True)
            await calls.drain()
        assert all_gone(), leading.exception()
        if not call.cancelled():
            call.result()
        return listener, witness


def played(scenario: Scenario) -> tuple[Listener, Witness]:
    """The same scenario goes the same way again: jitter and uids follow from its seed."""
    jitter, uids = random.Random(scenario.seed), itertools.count()
    with (
        patch("ottoscaler.runtime.tasks.random", SimpleNamespace(Random=lambda: jitter)),
        patch(
            "ottoscaler.orchestrator.mock.objects.uuid",
            SimpleNamespace(uuid4=lambda: f"uid-{next(uids)}"),
        ),
        asyncio.Runner(loop_factory=looptime.new_event_loop) as runner,
    ):
        return runner.run(play(scenario))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_every_pipeline_comes_to_the_end_that_its_workers_deserve(scenario: Scenario) -> None:
    listener, witness = played(scenario)
    note(f"{witness.states[-1]}")
    assert not witness.wrong
    end = witness.states[-1]
    statuses = {key: each.status for key, each in end.stages.items()}
    if end.outcome == "CANCELLED":
        assert scenario.cancel_after is not None
        assert set(statuses.values()) <= FINAL
    else:
        assert statuses == scenario.expected
    if scenario.cancel_after is None:
        tell_tale(scenario, listener, witness)


def tell_tale(scenario: Scenario, listener: Listener, witness: Witness) -> None:
    """The follower has been told all that happened, in order, and nothing else."""
    end = witness.states[-1]
    assert listener.of("") == ["STAGE_RUNNING", f"STAGE_{end.outcome}"]
    seen: Counter[str] = Counter()
    for each in scenario.request.stages:
        state, told = end.stages[each.stage_id], listener.of(each.stage_id)
        if state.status == "SKIPPED":
            assert told == ["STAGE_SKIPPED"]
        else:
            retried = ["STAGE_RUNNING", "STAGE_RETRYING"] * (state.attempt - 1)
            assert told == [*retried, "STAGE_RUNNING", f"STAGE_{state.status}"]
    for told_percentages in listener.percentages().values():
        assert told_percentages == sorted(told_percentages)
    for progress in listener.messages:
        if progress.stage_id and progress.status == pb.STAGE_RUNNING:
            before = next(one for one in scenario.request.stages if one.stage_id == progress.stage_id)
            assert all(seen[stage_id] for stage_id in before.depends_on)
        seen[progress.stage_id] += progress.status == pb.STAGE_COMPLETED
    assert (listener.messages[-1].progress_percentage == 100) is (end.outcome == "COMPLETED")
