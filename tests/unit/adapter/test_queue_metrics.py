"""Queues as external metrics: who sees what, which error says what, and when an answer stays the same."""

import pytest

from ottoscaler.adapter.config.model import QUEUE_METRICS
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.readings import Readings
from ottoscaler.apiservice.provider import MetricNotFound, MetricUnavailable, MetricValueList
from ottoscaler.apiservice.selector import EVERYTHING, Requirement, Selector
from tests.unit.adapter.making import HandClock, config, failure, queue, reading


def named(name: str) -> Selector:
    return Selector((Requirement("queue", "=", (name,)),))


class Served:
    """Three queues: `a` for all, `b` for namespace red, `c` with a label."""

    def __init__(self, text: str = "") -> None:
        self.clock = HandClock()
        self.readings = Readings(self.clock)
        self.metrics = QueueMetrics(self.readings, self.clock)
        if text:
            loaded = config(text)
            self.readings.set_queues(loaded.queues)
            self.metrics.set_derived(loaded.root.metrics)
        else:
            self.readings.set_queues(
                [queue("a"), queue("b", namespaces=("red",)), queue("c", labels={"team": "pay"})]
            )
        for state in self.readings:
            self.publish(state.config.name, waiting=1)

    def publish(self, name: str, **fields: int) -> None:
        self.readings.publish(reading(name, at=self.clock.wall, **fields))

    def read(
        self, selector: Selector = EVERYTHING, *, metric: str = "queue_waiting", namespace: str = "default"
    ) -> MetricValueList:
        return self.metrics.read(namespace, metric, selector)

    def values(
        self, selector: Selector = EVERYTHING, *, metric: str = "queue_waiting", namespace: str = "default"
    ) -> dict[str, int]:
        answer = self.read(selector, metric=metric, namespace=namespace)
        return {item.labels.get("queue", ""): item.value_milli for item in answer.items}


def test_each_queue_is_an_item_with_its_labels_and_its_time() -> None:
    served = Served()
    served.clock.advance(3)
    served.publish("c", waiting=5)
    (item,) = served.read(named("c")).items
    assert item.metric_name == "queue_waiting"
    assert dict(item.labels) == {"queue": "c", "kind": "fake-queue", "team": "pay"}
    assert item.timestamp == served.clock.wall
    assert item.value_milli == 5000


def test_a_queue_with_namespaces_shows_itself_there_only() -> None:
    served = Served()
    assert served.values() == {"a": 1000, "c": 1000}
    assert served.values(namespace="red") == {"a": 1000, "b": 1000, "c": 1000}
    with pytest.raises(MetricNotFound) as caught:
        served.read(named("b"))
    assert str(caught.value) == (
        'queue_waiting: no queue that namespace "default" may see matches "queue=b"; the queues there are a, c'
    )


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement("queue", "in", ("a", "c", "zzz")), {"a", "c"}),
        (Requirement("queue", "!=", ("a",)), {"c"}),
        (Requirement("queue", "notin", ("a",)), {"c"}),
        (Requirement("queue", "exists"), {"a", "c"}),
        (Requirement("team", "=", ("pay",)), {"c"}),
        (Requirement("team", "!"), {"a"}),
        (Requirement("kind", "==", ("fake-queue",)), {"a", "c"}),
    ],
)
def test_selectors_pick_by_label(requirement: Requirement, expected: set[str]) -> None:
    assert set(Served().values(Selector((requirement,)))) == expected


def test_a_selector_with_several_clauses_needs_all_of_them() -> None:
    clauses = Requirement("queue", "=", ("a",)), Requirement("team", "=", ("pay",))
    with pytest.raises(MetricNotFound):
        Served().read(Selector(clauses))


def test_an_unknown_metric_is_not_found_and_the_nearest_one_is_named() -> None:
    with pytest.raises(MetricNotFound) as caught:
        Served().read(metric="queue_wating")
    assert str(caught.value).startswith(
        'metric "queue_wating" does not exist, did you mean "queue_waiting"? There are queue_demand, '
    )


def test_nothing_waiting_is_one_item_of_zero_not_an_empty_list() -> None:
    served = Served()
    served.publish("a", waiting=0)
    assert served.values(named("a")) == {"a": 0}


def test_one_queue_too_old_makes_the_whole_answer_unavailable() -> None:
    served = Served()
    served.clock.advance(290)
    served.publish("a", waiting=2)
    served.clock.advance(82)
    served.readings.publish(failure("c", reason="its stream is missing"))
    assert served.values(named("a")) == {"a": 2000}
    with pytest.raises(MetricUnavailable) as caught:
        served.read()
    assert str(caught.value) == (
        "queue c: last measured 6m12s ago (2026-09-21T14:13:20Z), older than its maxAge 5m0s: "
        "its stream is missing; the HPA holds its replicas until then"
    )


def test_the_same_answer_is_the_same_object_until_news_or_time_changes_it() -> None:
    served = Served()
    first = served.read(named("a"))
    served.clock.advance(100)
    served.publish("c", waiting=9)
    assert served.read(named("a")) is first, "another queue's news"
    served.publish("a", waiting=1)
    second = served.read(named("a"))
    assert second is not first, "its timestamp has changed"
    served.clock.advance(300)
    assert served.read(named("a")) is second
    served.clock.advance(0.001)
    with pytest.raises(MetricUnavailable):
        served.read(named("a"))


def test_a_wall_clock_that_jumps_ahead_is_noticed_at_once() -> None:
    served = Served()
    served.read(named("a"))
    served.clock.wall += 301
    with pytest.raises(MetricUnavailable):
        served.read(named("a"))


def test_the_age_of_the_oldest_job_is_a_new_object_once_a_second() -> None:
    served = Served()
    served.readings.publish(
        reading("a", at=served.clock.wall, waiting=1, oldest_waiting_at=served.clock.wall - 10)
    )
    answers = []
    for _ in range(100):
        answers.append(served.read(named("a"), metric="queue_oldest_waiting_seconds"))
        served.clock.advance(0.05)
    assert 5 <= len({id(answer) for answer in answers}) <= 6


def test_a_reload_is_seen_by_the_next_question() -> None:
    served = Served()
    assert served.values(named("a")) == {"a": 1000}
    served.readings.set_queues([queue("a", namespaces=("red",)), queue("d")])
    with pytest.raises(MetricNotFound):
        served.read(named("a"))
    assert served.values(named("a"), namespace="red") == {"a": 1000}
    with pytest.raises(MetricUnavailable, match="not measured once"):
        served.read(named("d"))


def test_fallback_values_are_marked() -> None:
    served = Served("""
        queues:
          - {name: a, fake: {}, fallback: {after: 10m, value: 7}}
        """)
    served.clock.advance(601)
    (item,) = served.read(named("a")).items
    assert (item.value_milli, item.labels["fallback"]) == (7000, "true")


DERIVED = """
queues:
  - {name: generator, fake: {}}
  - {name: events, fake: {}, namespaces: [red]}
metrics:
  - name: load
    labels: {team: pay}
    of:
      - {queue: generator}
      - {queue: events, metric: queue_waiting, weight: 0.25}
  - {name: peak, combine: max, of: [{queue: generator}, {queue: events, weight: 0.3333333}]}
  - {name: mine, of: [{queue: generator}], namespaces: [blue]}
"""


def test_a_derived_metric_weighs_sums_and_rounds_up() -> None:
    served = Served(DERIVED)
    served.publish("generator", waiting=2, processing=1)
    served.clock.advance(10)
    served.publish("events", waiting=10, processing=5)
    (item,) = served.read(metric="load", namespace="red").items
    assert (item.value_milli, dict(item.labels)) == (3000 + 2500, {"team": "pay"})
    assert item.timestamp == served.clock.wall - 10, "as old as its oldest part"
    assert served.values(metric="peak", namespace="red") == {"": 5000}
    served.publish("events", waiting=10)
    assert served.values(metric="peak", namespace="red") == {"": 3334}


def test_a_derived_metric_is_seen_where_all_its_parts_are() -> None:
    served = Served(DERIVED)
    assert list(served.metrics.list_metrics()) == sorted(["load", "mine", "peak", *QUEUE_METRICS])
    with pytest.raises(MetricNotFound, match='"load" is not visible from namespace "default"'):
        served.read(metric="load")
    assert served.values(metric="mine", namespace="blue") == {"": 1000}
    with pytest.raises(MetricNotFound):
        served.read(metric="mine", namespace="red")
    with pytest.raises(MetricNotFound, match='no series that matches "team=other"'):
        served.read(Selector((Requirement("team", "=", ("other",)),)), metric="load", namespace="red")


def test_a_derived_metric_is_too_old_when_any_part_is() -> None:
    served = Served(DERIVED)
    served.clock.advance(200)
    served.publish("events", waiting=1)
    served.clock.advance(101)
    with pytest.raises(MetricUnavailable, match=r"^queue generator: last measured 5m1s ago"):
        served.read(metric="load", namespace="red")


def test_a_derived_answer_is_the_same_object_while_nothing_changes() -> None:
    served = Served(DERIVED)
    first = served.read(metric="load", namespace="red")
    served.clock.advance(5)
    assert served.read(metric="load", namespace="red") is first
    served.publish("events", waiting=2)
    assert served.read(metric="load", namespace="red") is not first


def test_a_question_about_one_queue_looks_at_that_queue_only() -> None:
    clock = HandClock()
    readings = Readings(clock)
    readings.set_queues([queue(f"q{n}") for n in range(10_000)])
    metrics = QueueMetrics(readings, clock)
    readings.publish(reading("q7777", waiting=1))
    answer = metrics.read("default", "queue_waiting", named("q7777"))
    assert [item.value_milli for item in answer.items] == [1000]
    assert metrics.read("default", "queue_waiting", named("q7777")) is answer
    with pytest.raises(MetricUnavailable, match="and 9996 more queues"):
        metrics.read("default", "queue_waiting", EVERYTHING)


def test_a_question_is_kept_by_its_size_not_by_number() -> None:
    served = Served()
    read, kept = served.read, served.metrics
    read(named("a"))
    read(named("a"))
    with pytest.raises(MetricNotFound):
        read(named("x"))
    assert [selector for _, _, selector in kept._narrow] == [named("a"), named("x")]
    many = Selector((Requirement("queue", "in", ("a", *(f"q{number}" for number in range(40)))),))
    assert read(many) is read(many)
    assert [selector for _, _, selector in kept._wide] == [many]
    long = Selector((Requirement("queue", "in", ("a", *("q" * 60 + str(n) for n in range(9)))),))
    assert len(read(long).items) == 1
    assert len(read(namespace="n" * 300).items) == 2
    with pytest.raises(MetricNotFound):
        read(metric="m" * 300)
    assert (len(kept._narrow), len(kept._wide)) == (2, 1)


def test_questions_about_many_queues_are_few_in_memory_and_drive_out_none_about_one() -> None:
    clock = HandClock()
    readings = Readings(clock)
    readings.set_queues([queue(f"q{n}") for n in range(1000)])
    for state in readings:
        readings.publish(reading(state.config.name, at=clock.wall, waiting=1))
    metrics = QueueMetrics(readings, clock)
    one = metrics.read("default", "queue_waiting", named("q7"))
    for number in range(30):
        others = Selector((Requirement("queue", "!=", (f"q{number}",)),))
        assert len(metrics.read("default", "queue_waiting", others).items) == 999
    assert sum(len(question.states) for question in metrics._wide.values()) <= 4096 + 4 * 1000
    assert metrics._wide
    assert metrics.read("default", "queue_waiting", named("q7")) is one


def test_what_hpas_ask_of_ten_thousand_queues_fits_into_memory() -> None:
    clock = HandClock()
    readings = Readings(clock)
    readings.set_queues([queue(f"q{n}") for n in range(10_000)])
    metrics = QueueMetrics(readings, clock)
    for _ in range(2):
        for number in range(10_000):
            for metric in ("queue_demand", "queue_waiting"):
                with pytest.raises(MetricUnavailable):
                    metrics.read("default", metric, named(f"q{number}"))
    assert len(metrics._narrow) == 20_000


def test_questions_about_nothing_are_forgotten_oldest_first() -> None:
    served = Served()
    for number in range(7000):
        with pytest.raises(MetricNotFound):
            served.read(named(f"x{number}"))
    kept = [selector for _, _, selector in served.metrics._narrow]
    assert len(kept) <= 5 * (4096 + 2 * 3) // 4
    assert kept[-1] == named("x6999")
    assert named("x0") not in kept
