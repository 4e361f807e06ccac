"""A queue in parts: each is an item with labels of its own, and a selector picks among them."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from ottoscaler.adapter.config.model import Fallback
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.reading import Series
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.sources.base import SeriesRule
from ottoscaler.apiservice.provider import MetricNotFound, MetricUnavailable
from ottoscaler.apiservice.selector import EVERYTHING, Requirement, Selector
from ottoscaler.runtime.values import Duration
from tests.unit.adapter.making import HandClock, queue, reading


def selector(**labels: str) -> Selector:
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


class Served:
    """The queue `jobs`, in parts by `shard`, and the queue `other`, which is whole."""

    def __init__(self, *, absent: Literal["error", "empty"] = "error", **options: Any) -> None:
        self.clock = HandClock()
        self.readings = Readings(self.clock)
        self.metrics = QueueMetrics(self.readings, self.clock)
        rule = SeriesRule(labels=frozenset({"shard"}), absent=absent)
        self.readings.set_queues([replace(queue("jobs", **options), series=rule), queue("other")])
        self.publish(a=3, b=4)
        self.readings.publish(reading("other", at=self.clock.wall, waiting=1))

    def publish(self, **waiting: int) -> None:
        series = tuple(
            Series(labels={"shard": shard}, waiting=count, processing=1) for shard, count in waiting.items()
        )
        self.readings.publish(
            reading(
                "jobs",
                at=self.clock.wall,
                waiting=sum(waiting.values()),
                processing=len(waiting),
                series=series,
            )
        )

    def values(self, picked: Selector = EVERYTHING, metric: str = "queue_waiting") -> dict[str, int]:
        items = self.metrics.read("default", metric, picked).items
        return {item.labels.get("shard", item.labels["queue"]): item.value_milli // 1000 for item in items}


def test_each_part_is_an_item_with_the_labels_of_the_queue_and_its_own() -> None:
    served = Served()
    assert served.values() == {"a": 3, "b": 4, "other": 1}
    assert served.values(metric="queue_demand") == {"a": 4, "b": 5, "other": 1}
    (item,) = served.metrics.read("default", "queue_waiting", selector(queue="jobs", shard="a")).items
    assert dict(item.labels) == {"queue": "jobs", "kind": "fake-queue", "shard": "a"}
    assert item.timestamp == served.clock.wall


def test_a_selector_picks_parts() -> None:
    served = Served()
    assert served.values(selector(shard="b")) == {"b": 4}
    assert served.values(Selector((Requirement("shard", "!=", ("b",)),))) == {"a": 3, "other": 1}
    assert served.values(Selector((Requirement("shard", "exists"),))) == {"a": 3, "b": 4}
    assert served.values(Selector((Requirement("shard", "!"),))) == {"other": 1}


def test_a_part_comes_and_goes_with_the_readings() -> None:
    served = Served()
    picked = selector(queue="jobs", shard="c")
    with pytest.raises(MetricNotFound, match='no series of queue jobs matches "queue=jobs,shard=c" now'):
        served.values(picked)
    served.publish(c=9)
    assert served.values(picked) == {"c": 9}
    assert served.values(selector(queue="jobs")) == {"c": 9}


def test_no_such_part_is_no_jobs_where_the_queue_says_so() -> None:
    served = Served(absent="empty")
    assert served.values(selector(queue="jobs", shard="c")) == {"jobs": 0}
    served.publish()
    assert served.values(selector(queue="jobs")) == {"jobs": 0}


def test_a_label_that_is_not_kept_matches_no_part() -> None:
    with pytest.raises(MetricNotFound, match="no queue that namespace"):
        Served().values(selector(queue="jobs", region="eu"))


def test_parts_are_as_old_as_their_reading() -> None:
    served = Served(max_age=60)
    served.clock.advance(61)
    for absent_or_not in ("a", "c"):
        with pytest.raises(MetricUnavailable, match="queue jobs: last measured 1m1s ago"):
            served.values(selector(queue="jobs", shard=absent_or_not))


def test_a_fallback_stands_for_every_part() -> None:
    served = Served(max_age=60, fallback=Fallback(after=Duration(120), value=7))
    served.clock.advance(121)
    (item,) = served.metrics.read("default", "queue_waiting", selector(queue="jobs", shard="a")).items
    assert (item.value_milli, item.labels["fallback"]) == (7000, "true")


def test_the_age_of_the_oldest_job_is_that_of_the_part() -> None:
    served = Served()
    now = served.clock.wall
    parts = (
        Series(labels={"shard": "a"}, waiting=1, oldest_waiting_at=now - 5),
        Series(labels={"shard": "b"}, waiting=1, oldest_waiting_at=now - 50),
        Series(labels={"shard": "c"}),
    )
    served.readings.publish(reading("jobs", at=now, waiting=2, series=parts, oldest_waiting_at=now - 50))
    found = served.values(selector(queue="jobs"), metric="queue_oldest_waiting_seconds")
    assert found == {"a": 5, "b": 50, "c": 0}


def test_a_part_with_a_count_that_cannot_be_makes_the_reading_impossible() -> None:
    served = Served()
    served.readings.publish(
        reading("jobs", at=served.clock.wall, series=(Series(labels={"shard": "a"}, waiting=-1),))
    )
    state = served.readings.get("jobs")
    assert state is not None and state.failure is not None
    assert state.failure.code == "invalid"
    assert served.values(selector(queue="jobs")) == {"a": 3, "b": 4}
