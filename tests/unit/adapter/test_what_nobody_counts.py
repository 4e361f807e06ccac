"""A backend that does not count the jobs of some state has no number of them, nor a zero."""

import pytest

from ottoscaler.adapter.config.load import ConfigError
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.queue_telemetry import expose
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.status import queue_status
from ottoscaler.apiservice.provider import MetricNotFound, MetricUnavailable
from ottoscaler.apiservice.selector import EVERYTHING, Requirement, Selector
from tests.unit.adapter.making import HandClock, config, reading

_FILE = """
queues:
  - {name: jobs, firebase: {databaseURL: "https://x.firebaseio.com"}}
  - {name: events, redis: {url: "redis://r", stream: s, group: g}}
  - {name: mails, redis: {url: "redis://r", lists: {waiting: [w]}}}
  - {name: tasks, redis: {url: "redis://r", lists: {waiting: [w], processing: [p]}}}
  - {name: scraped, prometheus: {url: "http://p", waiting: jobs}}
  - {name: asked, prometheus: {url: "http://p", waiting: jobs, processing: busy}}
"""
_COUNTED = {
    "jobs": {"processing", "stalled", "failed", "other"},
    "events": {"processing", "stalled"},
    "mails": set(),
    "tasks": {"processing"},
    "scraped": set(),
    "asked": {"processing"},
}


@pytest.fixture(autouse=True)
def _fake_blocks() -> None:
    """The real backends, not the fakes of the other tests."""


def _made(clock: HandClock) -> Readings:
    readings = Readings(clock)
    readings.set_queues(config(_FILE).queues)
    for state in readings:
        readings.publish(reading(state.config.name, waiting=2))
    return readings


@pytest.mark.parametrize("state", ["processing", "stalled", "failed"])
def test_only_queues_that_count_a_state_have_its_metric(state: str) -> None:
    clock = HandClock()
    metrics = QueueMetrics(_made(clock), clock)
    name = f"queue_{state}"
    having = {queue for queue, counted in _COUNTED.items() if state in counted}
    assert {item.labels["queue"] for item in metrics.read("default", name, EVERYTHING).items} == having
    for queue_name in _COUNTED.keys() - having:
        with pytest.raises(MetricNotFound, match=rf"{queue_name} has no such metric.* its {state} jobs"):
            metrics.read("default", name, Selector((Requirement("queue", "=", (queue_name,)),)))
    for always in ("queue_waiting", "queue_demand"):
        assert len(metrics.read("default", always, EVERYTHING).items) == len(_COUNTED)


async def test_prometheus_and_the_status_page_are_told_no_zeros_either() -> None:
    clock = HandClock()
    readings = _made(clock)
    text = (await expose(readings, clock)).decode()
    for state in readings:
        name, shown = state.config.name, queue_status(state, clock.moment())
        for counted in ("processing", "stalled", "failed", "other"):
            there = counted in _COUNTED[name]
            assert (f'queue="{name}",kind="{state.config.kind}",state="{counted}"}}' in text) == there
            assert (getattr(shown, counted) is not None) == there
        assert (shown.waiting, shown.demand) == (2, 2)


def test_a_derived_metric_over_what_nobody_counts_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"metrics\[0\].of\[0\].metric: nothing counts the failed jobs of events"
    ):
        config(_FILE + "metrics: [{name: lost, of: [{queue: events, metric: queue_failed}]}]\n")


def test_a_fallback_is_no_part_of_a_derived_metric() -> None:
    clock = HandClock()
    loaded = config("""
        queues:
          - {name: a, maxAge: 1m, fallback: {after: 10m, value: 100}, redis: {url: "redis://r", stream: s, group: g}}
          - {name: b, maxAge: 2h, redis: {url: "redis://r", stream: t, group: g}}
        metrics:
          - {name: load, of: [{queue: a}, {queue: b}]}
        """)
    readings = Readings(clock)
    metrics = QueueMetrics(readings, clock)
    readings.set_queues(loaded.queues)
    metrics.set_derived(loaded.root.metrics)
    for name in ("a", "b"):
        readings.publish(reading(name, waiting=2))
    assert metrics.read("default", "load", EVERYTHING).items[0].value_milli == 4000
    clock.advance(3600)
    assert metrics.read("default", "queue_demand", EVERYTHING).items[0].value_milli == 100_000
    with pytest.raises(MetricUnavailable, match="queue a: last measured 1h"):
        metrics.read("default", "load", EVERYTHING)
