"""Polled queues: never later than their interval, together where they can be, out of step with others."""

import random

from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.adapter.sources.schedule import Schedule


def _schedule(seed: int = 1) -> Schedule:
    return Schedule(rng=random.Random(seed))


def test_new_queues_are_due_at_once() -> None:
    schedule = _schedule()
    assert schedule.wait(now=100.0) is None
    schedule.plan({"a": 5.0, "b": 60.0}, now=100.0)
    assert schedule.wait(now=100.0) == 0.0
    assert schedule.take(now=100.0) == ["a", "b"]
    assert schedule.take(now=100.0) == []


def test_queues_of_one_interval_stay_together() -> None:
    schedule = _schedule()
    schedule.plan({"a": 5.0, "b": 5.0}, now=0.0)
    schedule.take(now=0.0)
    schedule.plan({"a": 5.0, "b": 5.0, "c": 5.0}, now=2.0)
    assert schedule.take(now=2.0) == ["c"]
    assert sorted(schedule.take(now=5.0)) == ["a", "b", "c"]


def test_a_queue_with_a_new_interval_is_due_at_once() -> None:
    schedule = _schedule()
    schedule.plan({"a": 60.0, "b": 60.0}, now=0.0)
    schedule.take(now=0.0)
    schedule.plan({"a": 1.0, "b": 60.0}, now=1.0)
    assert schedule.take(now=1.0) == ["a"]
    schedule.plan({"a": 1.0, "b": 60.0}, now=1.5, anew={"b"})
    assert schedule.take(now=1.5) == ["b"]


def test_two_schedules_fall_out_of_step() -> None:
    first, second = _schedule(1), _schedule(2)
    for schedule in (first, second):
        schedule.plan({"a": 10.0}, now=0.0)
        schedule.take(now=0.0)
    assert first.wait(now=0.0) != second.wait(now=0.0)


@given(st.lists(st.sampled_from([1.0, 5.0, 60.0]), min_size=1, max_size=8), st.integers(0, 1000))
def test_no_queue_waits_longer_than_its_interval(intervals: list[float], seed: int) -> None:
    schedule = _schedule(seed)
    names = {str(number): interval for number, interval in enumerate(intervals)}
    schedule.plan(names, now=0.0)
    last, now = dict.fromkeys(names, 0.0), 0.0
    schedule.take(now=0.0)
    for _ in range(50):
        wait = schedule.wait(now=now)
        assert wait is not None
        now += wait
        for name in schedule.take(now=now):
            assert now - last[name] <= names[name] + 1e-9
            assert now - last[name] >= 0.5 * names[name]
            last[name] = now
