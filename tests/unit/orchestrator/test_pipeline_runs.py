"""Runs of pipelines, played without a cluster: every graph comes to its end by the rules."""

import random
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ottoscaler.orchestrator.pipelines.failures import Failure, matches
from ottoscaler.orchestrator.pipelines.model import FINAL, RetryRule, RunSpec, RunState, StageSpec, begin
from ottoscaler.orchestrator.pipelines.state import Seen, Slot, accounted, advance, unwanted, wake_at, wanted
from ottoscaler.orchestrator.worker import StageWorker, Worker
from tests.unit.orchestrator.making import worker

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

Fate = Literal["ok", "fails", "hangs", "refused", "vanishes"]


def pod_of(slot: Slot, **changes: object) -> Worker:
    part = StageWorker(run="uid", pipeline_id="p", stage_id=slot.stage, attempt=slot.attempt)
    return worker(f"{slot.stage}-{slot.attempt}-{slot.number}", index=slot.number, stage=part, **changes)


class World:
    """A cluster that does with each worker what fate says, one step at a time; time passes between steps."""

    def __init__(self, spec: RunSpec, seed: int, fates: dict[str, Fate]) -> None:
        self.spec = spec
        self.rng = random.Random(seed)
        self.fates = fates
        self.now = 1000.0
        self.state = begin(spec, at=self.now)
        self.pods: dict[Slot, Worker] = {}
        self.refused: dict[Slot, str] = {}
        self.gone: set[Slot] = set()
        self.created: list[Slot] = []
        self.history: list[RunState] = [self.state]

    def step(self, *, cancelled: bool = False) -> None:
        seen = Seen(self.pods, self.refused, self.gone)
        self.state = advance(self.spec, self.state, seen, now=self.now, cancelled=cancelled)
        self.history.append(self.state)
        for slot in wanted(self.spec, self.state, self.pods):
            if self.rng.random() < 0.8:
                self._create(slot)
        for pod in unwanted(self.state, self.pods):
            self.pods = {slot: each for slot, each in self.pods.items() if each is not pod}
        for slot in list(self.pods):
            if self.rng.random() < 0.6:
                self._move(slot)
        at = wake_at(self.spec, self.state, self.pods, now=self.now)
        self.now += self.rng.uniform(0.1, 2.0) if at is None else max(0.1, min(2.0, at - self.now))

    def _create(self, slot: Slot) -> None:
        if self.fates.get(slot.stage) == "refused":
            self.refused[slot] = "forbidden"
            return
        assert slot not in self.created, "no pod is made twice"
        self.created.append(slot)
        self.pods[slot] = pod_of(slot)

    def _move(self, slot: Slot) -> None:
        pod = self.pods[slot]
        fate = self.fates.get(slot.stage, "ok")
        if pod.ended:
            if accounted(self.state, slot):
                del self.pods[slot]
        elif pod.phase == "Pending":
            self.pods[slot] = pod_of(slot, phase="Running", started_at=self.now)
        elif fate == "vanishes":
            del self.pods[slot]
            self.gone.add(slot)
        elif fate == "fails":
            self.pods[slot] = pod_of(slot, phase="Failed", exit_code=3, reason="Error", finished_at=self.now)
        elif fate == "ok":
            self.pods[slot] = pod_of(slot, phase="Succeeded", exit_code=0, finished_at=self.now)

    def play(self, *, cancel_at: int | None = None, most: int = 2000) -> None:
        for number in range(most):
            if self.state.over:
                return
            self.step(cancelled=cancel_at is not None and number >= cancel_at)
        raise AssertionError(f"no end after {most} steps: {self.state}")


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    """Graphs without cycles: a stage depends on some of those before it."""
    stages: list[StageSpec] = []
    for number in range(draw(st.integers(1, 6))):
        before = [stage.id for stage in stages]
        stages.append(
            StageSpec(
                id=f"s{number}",
                count=draw(st.integers(1, 3)),
                depends_on=tuple(draw(st.sets(st.sampled_from(before))) if before else ()),
                timeout=draw(st.sampled_from([0, 5])),
                retry=RetryRule(
                    attempts=draw(st.integers(1, 3)),
                    delay=draw(st.integers(0, 3)),
                    failures=draw(st.sampled_from([(), ("3",), ("4",), ("Timeout",)])),
                ),
            )
        )
    return RunSpec(id="p", stages=tuple(stages))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    spec = draw(specs())
    fates: dict[str, Fate] = {}
    for stage in spec.stages:
        choices: list[Fate] = ["ok", "ok", "ok", "fails", "refused", "vanishes"]
        fates[stage.id] = draw(st.sampled_from([*choices, "hangs"] if stage.timeout else choices))
    return World(spec, draw(st.integers(0, 2**16)), fates)


@calm
@given(worlds())
def test_every_run_comes_to_an_end_by_the_rules(world: World) -> None:
    world.play()
    state = world.state
    for stage in world.spec.stages:
        mine = state.stages[stage.id]
        before = {state.stages[each].status for each in stage.depends_on}
        assert mine.status in FINAL
        assert mine.attempt <= stage.retry.attempts
        if before & {"FAILED", "SKIPPED"}:
            assert mine.status == "SKIPPED"
            assert not any(slot.stage == stage.id for slot in world.created)
        elif world.fates[stage.id] == "ok" and not stage.timeout:
            assert mine.status == "COMPLETED"
        elif world.fates[stage.id] in {"fails", "refused", "hangs", "vanishes"}:
            assert mine.status == "FAILED"
    assert state.outcome == (
        "COMPLETED" if all(each.status == "COMPLETED" for each in state.stages.values()) else "FAILED"
    )


@calm
@given(worlds())
def test_a_stage_starts_after_all_it_depends_on(world: World) -> None:
    world.play()
    for stage in world.spec.stages:
        started = world.state.stages[stage.id].started_at
        if started:
            assert all(world.state.stages[each].ended_at <= started for each in stage.depends_on)


@calm
@given(worlds())
def test_what_is_over_stays_as_it_is(world: World) -> None:
    world.play()
    for earlier, later in zip(world.history, world.history[1:], strict=False):
        for key, stage in earlier.stages.items():
            if stage.status in FINAL:
                assert later.stages[key] == stage
            assert later.stages[key].succeeded >= stage.succeeded


@calm
@given(worlds(), st.integers(0, 8))
def test_a_cancelled_run_ends_at_once_and_leaves_no_pod(world: World, at: int) -> None:
    world.play(cancel_at=at)
    world.step(cancelled=True)
    assert not [pod for pod in world.pods.values() if pod.active]
    assert {stage.status for stage in world.state.stages.values()} <= FINAL


@calm
@given(worlds(), st.integers(0, 30))
def test_a_new_leader_goes_on_with_what_was_written(world: World, at: int) -> None:
    """Only the record and the pods survive; a refusal is met again by asking again."""
    for _ in range(at):
        world.step()
    world.refused.clear()
    world.play()
    assert world.state.over


@pytest.mark.parametrize(
    ("entries", "failure", "retryable"),
    [
        ((), Failure(1, "Error", "Failed", ""), True),
        (("3",), Failure(3, "Error", "Failed", ""), True),
        (("3",), Failure(4, "Error", "Failed", ""), False),
        (("1-10",), Failure(7, "Error", "Failed", ""), True),
        (("exit_code:7",), Failure(7, "Error", "Failed", ""), True),
        (("1-10",), Failure(None, "Timeout", "", ""), False),
        (("oomkilled",), Failure(137, "OOMKilled", "Failed", ""), True),
        (("reason: Evicted",), Failure(None, "Evicted", "Failed", ""), True),
        (("phase:failed",), Failure(1, "Error", "Failed", ""), True),
        (("Timeout",), Failure(None, "Timeout", "", ""), True),
        (("nonsense", "2"), Failure(2, "Error", "Failed", ""), True),
    ],
)
def test_failures_are_matched_by_code_reason_and_phase(
    entries: tuple[str, ...], failure: Failure, retryable: bool
) -> None:
    assert matches(RetryRule(failures=entries), failure) is retryable


def test_the_time_in_a_quota_does_not_count_against_a_stage() -> None:
    spec = RunSpec(id="p", stages=(StageSpec(id="s", count=1, timeout=5),))
    state = advance(spec, begin(spec, at=0.0), Seen({}), now=0.0, cancelled=False)
    slot = Slot("s", 1, 1)
    for now in (10.0, 20.0, 30.0):
        state = advance(spec, state, Seen({slot: pod_of(slot, gated=True)}), now=now, cancelled=False)
    assert state.stages["s"].status == "RUNNING"
    running = pod_of(slot, phase="Running", created_at=0.0, started_at=31.0, admitted_at=31.0)
    state = advance(spec, state, Seen({slot: running}), now=34.0, cancelled=False)
    assert state.stages["s"].status == "RUNNING"
    state = advance(spec, state, Seen({slot: running}), now=36.0, cancelled=False)
    assert state.stages["s"].status == "FAILED"
    assert "took longer than 5 s" in state.stages["s"].error


def test_only_those_that_failed_run_again() -> None:
    spec = RunSpec(id="p", stages=(StageSpec(id="s", count=2, retry=RetryRule(attempts=2)),))
    state = advance(spec, begin(spec, at=0.0), Seen({}), now=0.0, cancelled=False)
    first = {
        Slot("s", 1, 1): pod_of(Slot("s", 1, 1), phase="Succeeded"),
        Slot("s", 1, 2): pod_of(Slot("s", 1, 2), phase="Failed", exit_code=1),
    }
    state = advance(spec, state, Seen(first), now=1.0, cancelled=False)
    state = advance(spec, state, Seen(first), now=1.0, cancelled=False)
    assert wanted(spec, state, first) == [Slot("s", 2, 2)]
