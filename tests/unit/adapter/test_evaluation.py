"""A queue's share in a metric at one moment: measured, a configured stand-in, or a sentence."""

from ottoscaler.adapter.config.model import QUEUE_METRICS, Fallback
from ottoscaler.adapter.evaluation import Measured, Moment, Unknown, evaluate, unavailable
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.runtime.values import Duration
from tests.unit.adapter.making import HandClock, failure, queue, reading
from tests.virtual import EPOCH


def made(clock: HandClock, **options: object) -> tuple[Readings, QueueState]:
    readings = Readings(clock)
    readings.set_queues([queue("generator", **options)])  # type: ignore[arg-type]
    state = readings.get("generator")
    assert state is not None
    return readings, state


def share(state: QueueState, metric: str, at: Moment) -> Measured:
    found = evaluate(state, metric, at)  # type: ignore[arg-type]
    assert isinstance(found, Measured), found
    return found


def sentence(state: QueueState, metric: str, at: Moment) -> str:
    found = evaluate(state, metric, at)  # type: ignore[arg-type]
    assert isinstance(found, Unknown), found
    return found.sentence


def test_each_metric_counts_its_own_state() -> None:
    clock = HandClock()
    readings, state = made(clock)
    readings.publish(
        reading(
            "generator", waiting=5, processing=2, stalled=1, failed=7, oldest_waiting_at=clock.wall - 61.5
        )
    )
    values = {metric: share(state, metric, clock.moment()).value_milli for metric in QUEUE_METRICS}
    assert values == {
        "queue_waiting": 5000,
        "queue_processing": 2000,
        "queue_stalled": 1000,
        "queue_failed": 7000,
        "queue_demand": 7000,
        "queue_oldest_waiting_seconds": 61000,
    }


def test_a_job_turns_stalled_without_any_news_at_the_second_its_heartbeat_is_too_old() -> None:
    clock = HandClock()
    readings, state = made(clock, max_age=1000)
    readings.publish(reading("generator", heartbeats=(clock.wall - 290, clock.wall), heartbeat_timeout=300))
    before = share(state, "queue_processing", clock.moment())
    assert (before.value_milli, before.good_for) == (2000, 10)
    clock.advance(before.good_for)
    assert share(state, "queue_processing", clock.moment()).value_milli == 1000
    assert share(state, "queue_stalled", clock.moment()).value_milli == 1000
    assert share(state, "queue_demand", clock.moment()).value_milli == 1000


def test_the_age_of_the_oldest_job_moves_by_whole_seconds() -> None:
    clock = HandClock()
    readings, state = made(clock)
    readings.publish(reading("generator", waiting=1, oldest_waiting_at=clock.wall - 7.25))
    first = share(state, "queue_oldest_waiting_seconds", clock.moment())
    assert (first.value_milli, first.good_for) == (7000, 0.75)
    clock.advance(0.75)
    assert share(state, "queue_oldest_waiting_seconds", clock.moment()).value_milli == 8000


def test_an_oldest_job_is_zero_only_when_nothing_waits() -> None:
    clock = HandClock()
    readings, state = made(clock)
    readings.publish(reading("generator", waiting=0))
    assert share(state, "queue_oldest_waiting_seconds", clock.moment()).value_milli == 0
    readings.publish(reading("generator", waiting=2))
    assert sentence(state, "queue_oldest_waiting_seconds", clock.moment()) == (
        "queue generator: its jobs do not say when they were created"
    )
    readings.publish(reading("generator", waiting=2, oldest_waiting_at=clock.wall + 60))
    assert share(state, "queue_oldest_waiting_seconds", clock.moment()).value_milli == 0, "a producer's clock"


def test_a_reading_is_served_up_to_its_age_limit_and_not_after() -> None:
    clock = HandClock()
    readings, state = made(clock, max_age=300)
    readings.publish(reading("generator", waiting=5))
    clock.advance(300)
    assert share(state, "queue_waiting", clock.moment()) == Measured(5000, EPOCH, 0.0)
    clock.advance(72)
    readings.publish(failure("generator", reason="the database refused the connection"))
    assert sentence(state, "queue_waiting", clock.moment()) == (
        "queue generator: last measured 6m12s ago (2026-09-21T14:13:20Z), older than its maxAge 5m0s: "
        "the database refused the connection"
    )


def test_without_any_reading_the_sentence_says_since_when() -> None:
    clock = HandClock()
    _, state = made(clock)
    clock.advance(3)
    assert sentence(state, "queue_waiting", clock.moment()) == (
        "queue generator: not measured once in 3s (since 2026-09-21T14:13:20Z): "
        "the first measurement is under way"
    )


def test_the_error_names_three_queues_and_counts_the_rest() -> None:
    clock = HandClock()
    readings = Readings(clock)
    readings.set_queues([queue(f"q{n}") for n in range(5)])
    error = str(unavailable([Unknown(state, 0, "old") for state in readings]))
    assert error == (
        "queue q0: old; queue q1: old; queue q2: old; and 2 more queues; the HPA holds its replicas until then"
    )


def test_a_fallback_stands_in_for_what_an_hpa_follows_and_only_after_its_time() -> None:
    clock = HandClock()
    fallback = Fallback(after=Duration(600), replicas_hint=3, jobs_per_pod=4)
    readings, state = made(clock, fallback=fallback)
    readings.publish(reading("generator", waiting=50))
    clock.advance(301)
    assert isinstance(evaluate(state, "queue_demand", clock.moment()), Unknown)
    clock.advance(300)
    for metric in ("queue_demand", "queue_waiting"):
        stand_in = share(state, metric, clock.moment())
        assert (stand_in.value_milli, stand_in.fallback, stand_in.measured_at) == (12000, True, EPOCH)
    assert isinstance(evaluate(state, "queue_processing", clock.moment()), Unknown)
    readings.publish(reading("generator", at=clock.wall, waiting=1))
    assert share(state, "queue_demand", clock.moment()).value_milli == 1000
