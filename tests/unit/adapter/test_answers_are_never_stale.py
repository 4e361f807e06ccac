"""Whatever happens in whatever order, a remembered answer is what would be worked out afresh."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ottoscaler.adapter.config.model import QUEUE_METRICS, DerivedMetric, Fallback, Part
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.readings import Readings
from ottoscaler.apiservice.provider import MetricNotFound, MetricUnavailable
from ottoscaler.apiservice.selector import EVERYTHING, Requirement, Selector
from ottoscaler.runtime.values import Duration
from tests.unit.adapter.making import HandClock, failure, queue, reading

NAMES = ("a", "b", "c")
SELECTORS = (
    EVERYTHING,
    Selector((Requirement("queue", "=", ("a",)),)),
    Selector((Requirement("queue", "in", ("a", "b")),)),
    Selector((Requirement("queue", "!=", ("b",)),)),
)
DERIVED = DerivedMetric(
    name="load", of=(Part(queue="a", weight=0.5), Part(queue="b", metric="queue_waiting")), combine="sum"
)
SECONDS = st.sampled_from([0.0, 0.001, 0.5, 1.0, 4.9, 5.0, 9.0, 30.0, 61.0])
Answer = tuple[Any, ...] | str


class Answers(RuleBasedStateMachine):
    """Readings come, fail and age; clocks move and jump; the configuration changes; people ask."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.readings = Readings(self.clock)
        self.metrics = QueueMetrics(self.readings, self.clock)

    @initialize()
    def configure(self) -> None:
        self.reload(NAMES, 10.0, None)

    @rule(
        names=st.sets(st.sampled_from(NAMES)).map(sorted),
        max_age=st.sampled_from([6.0, 10.0, 60.0]),
        namespaces=st.sampled_from([None, ("default",), ("red",)]),
    )
    def reload(self, names: Any, max_age: float, namespaces: Any) -> None:
        fallback = Fallback(after=Duration(60), value=9)
        queues = [queue(name, max_age=max_age, namespaces=namespaces, fallback=fallback) for name in names]
        self.readings.set_queues(queues)
        self.metrics.set_derived([DERIVED])

    @rule(
        name=st.sampled_from(NAMES),
        waiting=st.integers(0, 3),
        late=SECONDS,
        beats=st.lists(st.floats(0, 40), max_size=3),
        oldest=st.none() | SECONDS,
    )
    def measure(self, name: str, waiting: int, late: float, beats: list[float], oldest: float | None) -> None:
        at = self.clock.wall - late
        heartbeats = tuple(sorted(self.clock.wall - beat for beat in beats))
        self.readings.publish(
            reading(
                name,
                at=at,
                waiting=waiting,
                heartbeats=heartbeats,
                heartbeat_timeout=20.0,
                oldest_waiting_at=None if oldest is None else self.clock.wall - oldest,
            )
        )

    @rule(name=st.sampled_from(NAMES))
    def fail(self, name: str) -> None:
        self.readings.publish(failure(name))

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -5.0, 5.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        self.clock.wall += seconds

    @invariant()
    def remembered_is_worked_out(self) -> None:
        fresh = QueueMetrics(self.readings, self.clock)
        fresh.set_derived([DERIVED])
        for metric in (*QUEUE_METRICS, "load"):
            for selector in SELECTORS:
                remembered = ask(self.metrics, metric, selector)
                assert remembered == ask(fresh, metric, selector), (metric, selector)

    @invariant()
    def nothing_too_old_is_served(self) -> None:
        for state in self.readings:
            selector = Selector((Requirement("queue", "=", (state.config.name,)),))
            answer = ask(self.metrics, "queue_waiting", selector)
            if isinstance(answer, str):
                continue
            (item,) = answer
            if "fallback" not in item.labels:
                assert self.clock.wall - item.timestamp <= state.config.options.max_age
                assert state.reading is not None
                assert item.value_milli == state.reading.waiting * 1000


def ask(metrics: QueueMetrics, metric: str, selector: Selector) -> Answer:
    """The items, or the words of the error."""
    try:
        return metrics.read("default", metric, selector).items
    except (MetricNotFound, MetricUnavailable) as error:
        return f"{type(error).__name__}: {error}"


TestAnswers = Answers.TestCase
TestAnswers.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
