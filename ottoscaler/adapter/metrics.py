"""The queues as external metrics: what the API server asks, answered from memory.

A question is (namespace, metric, selector). What it matches is worked out once and kept until the
configuration changes; its answer is kept until a matching queue has news or time changes the value.
The same answer is the same object, so that the server encodes it once. A selector that names its
queue, as every generated HPA does, finds it by an index: ten thousand queues cost what one costs.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import cast

from ottoscaler.adapter.config.model import QUEUE_METRICS, DerivedMetric, QueueMetric
from ottoscaler.adapter.derived import DerivedQuestion
from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.question import Nothing, Question, QueueQuestion
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.apiservice.provider import MetricValueList
from ottoscaler.apiservice.selector import Selector
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.decode import suggestion

_QUESTIONS = 4096
"""Questions that are remembered besides those of the queues themselves."""


class QueueMetrics:
    """A `MetricsProvider` over the readings."""

    def __init__(self, readings: Readings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock
        self._derived: Mapping[str, DerivedMetric] = {}
        self._names: tuple[str, ...] = QUEUE_METRICS
        self._generation = -1
        self._question = lru_cache(maxsize=_QUESTIONS)(self._prepare)

    def set_derived(self, metrics: Iterable[DerivedMetric]) -> None:
        """Replaces the metrics over several queues."""
        self._derived = {metric.name: metric for metric in metrics}
        self._names = tuple(sorted([*QUEUE_METRICS, *self._derived]))
        self._generation = -1

    def list_metrics(self) -> Sequence[str]:
        return self._names

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        if self._generation != self._readings.generation:
            self._forget()
        moment = Moment(self._clock.time(), self._clock.monotonic())
        return self._question(namespace, name, selector).answer(moment)

    def _forget(self) -> None:
        """The configuration changed: what matched before may match no more."""
        self._generation = self._readings.generation
        room = _QUESTIONS + 2 * len(self._readings) * len(QUEUE_METRICS)
        self._question = lru_cache(maxsize=room)(self._prepare)

    def _prepare(self, namespace: str, name: str, selector: Selector) -> Question:
        if name in self._derived:
            return self._prepare_derived(namespace, self._derived[name], selector)
        if name not in QUEUE_METRICS:
            return Nothing(
                f'metric "{name[:100]}" does not exist{suggestion(name[:100], self._names) or "."} '
                f"There are {', '.join(self._names[:20])}"
            )
        candidates = _candidates(self._readings, selector)
        states = [s for s in candidates if is_visible(s, namespace) and _can_match(s, selector)]
        if not states:
            return Nothing(self._no_queue(namespace, name, selector))
        metric = cast("QueueMetric", name)
        counted = [state for state in states if state.config.lacks(metric) is None]
        if not counted:
            return Nothing(_uncounted(metric, states[0]))
        return QueueQuestion(metric, counted, selector)

    def _prepare_derived(self, namespace: str, metric: DerivedMetric, selector: Selector) -> Question:
        states = [state for part in metric.of if (state := self._readings.get(part.queue)) is not None]
        hidden = metric.namespaces is not None and namespace not in metric.namespaces
        if hidden or len(states) < len(metric.of) or not all(is_visible(s, namespace) for s in states):
            return Nothing(f'metric "{metric.name}" is not visible from namespace "{namespace}"')
        if not selector.matches(metric.labels):
            return Nothing(f'metric "{metric.name}" has no series that matches "{selector}"')
        return DerivedQuestion(metric, states)

    def _no_queue(self, namespace: str, name: str, selector: Selector) -> str:
        visible = sorted(s.config.name for s in self._readings if is_visible(s, namespace))
        shown = ", ".join(visible[:10]) + (f" and {len(visible) - 10} more" if len(visible) > 10 else "")
        known = f"the queues there are {shown}" if visible else "there is none"
        return f'{name}: no queue that namespace "{namespace}" may see matches "{selector}"; {known}'


def _uncounted(metric: QueueMetric, state: QueueState) -> str:
    config = state.config
    return f"{metric}: queue {config.name} has no such metric, since nothing counts its {config.lacks(metric)} jobs ({config.kind})"


def is_visible(state: QueueState, namespace: str) -> bool:
    """A queue without a list of namespaces shows itself to all."""
    return state.config.options.namespaces is None or namespace in state.config.options.namespaces


def _can_match(state: QueueState, selector: Selector) -> bool:
    """Whether the queue, or a part of it that a reading may bring, has the labels."""
    if state.config.series is None:
        return selector.matches(state.labels)
    varying = state.config.series.labels
    return all(each.matches(state.labels) for each in selector.requirements if each.key not in varying)


def _candidates(readings: Readings, selector: Selector) -> Iterable[QueueState]:
    """The queues that can match: by name where the selector names them."""
    for requirement in selector.requirements:
        if requirement.key == "queue" and requirement.operator in {"=", "==", "in"}:
            named = (readings.get(name) for name in sorted(requirement.values))
            return [state for state in named if state is not None]
    return readings
