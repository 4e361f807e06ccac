"""A reading ages by whichever clock says more, and what cannot be true is refused and said."""

import math
from typing import Any

import pytest

from ottoscaler.adapter.reading import CLOCK_SKEW
from ottoscaler.adapter.readings import News, QueueState, Readings
from tests.unit.adapter.making import HandClock, failure, queue, reading


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def readings(clock: HandClock) -> Readings:
    made = Readings(clock)
    made.set_queues([queue("jobs")])
    return made


def state(readings: Readings, name: str = "jobs") -> QueueState:
    found = readings.get(name)
    assert found is not None
    return found


def age(readings: Readings, clock: HandClock) -> float:
    return state(readings).age(now=clock.wall, monotonic=clock.steady)


def test_a_queue_that_was_never_read_ages_from_its_configuration(
    readings: Readings, clock: HandClock
) -> None:
    clock.advance(12)
    assert age(readings, clock) == 12
    assert not state(readings).is_fresh(now=clock.wall, monotonic=clock.steady)


def test_a_reading_is_as_old_as_its_measurement_not_as_its_arrival(
    readings: Readings, clock: HandClock
) -> None:
    readings.publish(reading(at=clock.wall - 40))
    clock.advance(2)
    assert age(readings, clock) == 42


def test_a_wall_clock_set_back_makes_nothing_younger(readings: Readings, clock: HandClock) -> None:
    readings.publish(reading(at=clock.wall))
    clock.advance(200)
    clock.wall -= 3600
    assert age(readings, clock) == 200
    clock.advance(101)
    assert not state(readings).is_fresh(now=clock.wall, monotonic=clock.steady)


def test_a_suspended_machine_makes_readings_old(readings: Readings, clock: HandClock) -> None:
    readings.publish(reading(at=clock.wall))
    clock.wall += 3600  # the monotonic clock stood still meanwhile
    assert age(readings, clock) == 3600


def test_a_small_clock_skew_is_allowed_and_counts_as_now(readings: Readings, clock: HandClock) -> None:
    assert readings.publish(reading(at=clock.wall + CLOCK_SKEW)) is News.EXPECTED
    assert age(readings, clock) == 0
    clock.advance(301)
    assert not state(readings).is_fresh(now=clock.wall, monotonic=clock.steady)


def test_a_measurement_in_the_future_is_refused_and_the_reason_is_kept(
    readings: Readings, clock: HandClock
) -> None:
    readings.publish(reading(at=clock.wall, waiting=3))
    assert readings.publish(reading(at=clock.wall + 192, waiting=9)) is News.FAILED
    kept = state(readings)
    assert kept.reading is not None
    assert kept.reading.waiting == 3
    assert kept.failure is not None
    assert kept.failure.code == "invalid"
    assert kept.failure.reason == (
        "measured 3m12s in the future: check the clocks of the backend and of this pod"
    )
    assert kept.is_held(now=clock.wall, monotonic=clock.steady)


@pytest.mark.parametrize(
    "fields",
    [
        {"at": math.nan},
        {"at": math.inf},
        {"at": 0.0},
        {"at": -1.0},
        {"waiting": -1},
        {"processing": 2**63},
        {"failed": 1.5},
        {"stalled": True},
        {"oldest_waiting_at": math.nan},
    ],
)
def test_impossible_readings_are_refused(readings: Readings, fields: dict[str, Any]) -> None:
    assert readings.publish(reading(**fields)) is News.FAILED
    assert state(readings).reading is None
    assert state(readings).failures == {"invalid": 1}


def test_news_tells_beginnings_from_repetitions(readings: Readings, clock: HandClock) -> None:
    assert readings.publish(reading()) is News.EXPECTED
    assert readings.publish(failure(reason="refused")) is News.FAILED
    assert readings.publish(failure(reason="refused")) is News.EXPECTED
    assert readings.publish(failure(reason="reset")) is News.FAILED
    assert readings.publish(reading()) is News.RECOVERED
    assert readings.publish(reading("other")) is News.IGNORED


def test_a_reload_keeps_the_reading_of_what_is_measured_the_same_way(
    readings: Readings, clock: HandClock
) -> None:
    readings.set_queues([queue("jobs"), queue("gone"), queue("moved")])
    for name in ("jobs", "gone", "moved"):
        readings.publish(reading(name, waiting=4))
    readings.set_queues(
        [queue("jobs", max_age=10, labels={"team": "a"}), queue("new"), queue("moved", server="two")]
    )
    assert [each.config.name for each in readings] == ["jobs", "new", "moved"]
    kept = state(readings)
    assert kept.reading is not None
    assert kept.labels["team"] == "a"
    clock.advance(11)
    assert not kept.is_fresh(now=clock.wall, monotonic=clock.steady), "the new maxAge counts"
    assert state(readings, "moved").reading is None, "another server's number is not this one's"
    assert state(readings, "new").reading is None
