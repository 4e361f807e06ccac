"""The queues as external metrics: what the API server asks, answered from memory.

A question is (namespace, metric, selector). What it matches is worked out once and kept until the
configuration changes; its answer is kept until a matching queue has news or time changes the value.
The same answer is the same object, so that the server encodes it once. A selector that names its
queue, as every generated HPA does, finds it by an index: ten thousand queues cost what one costs.

Whoever may ask chooses the words, so memory goes by the size of a question and of what it matches, not by
number. Questions about many queues have a room of their own: they drive out none of an HPA's.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
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

_ORDINARY = 5
"""The weight of a question about one queue by its name, as an HPA asks."""
_NARROW = 16
"""The weight up to which a question is kept among the ordinary ones."""
_QUESTIONS = 4096
"""Ordinary questions that are remembered besides two of each queue."""
_WIDE = 4096
"""Weight of the wide questions that are remembered, besides four times the queues."""
_LONGEST_KEPT = 256
"""Characters of namespace, metric and selector in a question that is remembered."""

_Key = tuple[str, str, Selector]


class _Kept(OrderedDict[_Key, Question]):
    """Questions, oldest first: the oldest go where `room` is too little for all."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._free = room

    def keep(self, key: _Key, question: Question) -> None:
        weight = _weight(key, question)
        while self and self._free < weight:
            self._free += _weight(*self.popitem(last=False))
        if weight <= self._free:
            self._free -= weight
            self[key] = question


def _weight(key: _Key, question: Question) -> int:
    return 2 + key[2].size + len(question.states)


class QueueMetrics:
    """A `MetricsProvider` over the readings."""

    def __init__(self, readings: Readings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock
        self._derived: Mapping[str, DerivedMetric] = {}
        self._names: tuple[str, ...] = QUEUE_METRICS
        self._generation = -1
        self._narrow = self._wide = _Kept(0)

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
        key = (namespace, name, selector)
        question = self._narrow.get(key)
        if question is None and (question := self._wide.get(key)) is None:
            question = self._prepare(*key)
            self._keep(key, question)
        return question.answer(moment)

    def _keep(self, key: _Key, question: Question) -> None:
        if sum(len(str(word)) for word in key) > _LONGEST_KEPT:
            return
        kept = self._narrow if _weight(key, question) <= _NARROW else self._wide
        kept.keep(key, question)

    def _forget(self) -> None:
        """The configuration changed: what matched before may match no more."""
        self._generation = self._readings.generation
        queues = len(self._readings)
        self._narrow = _Kept(_ORDINARY * (_QUESTIONS + 2 * queues))
        self._wide = _Kept(_WIDE + 4 * queues)

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
