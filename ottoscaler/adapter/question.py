"""A question that the API asks again and again, and its newest answer.

Every HPA asks the same thing every 15 seconds, and the same object given twice is encoded once. So an
answer is kept until a queue in it has news, until time alone changes it (a job falls silent, a reading
grows too old), or until either clock has left the span for which it was worked out.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ottoscaler.adapter.config.model import QueueMetric
from ottoscaler.adapter.evaluation import (
    FOREVER,
    Measured,
    Moment,
    Unknown,
    evaluate,
    evaluate_series,
    unavailable,
)
from ottoscaler.adapter.readings import QueueState
from ottoscaler.apiservice.provider import MetricNotFound, MetricValue, MetricValueList
from ottoscaler.apiservice.selector import Selector

_MOST_NAMED = 3


class Question(ABC):
    """What is asked of `states`; subclasses say what their shares come to."""

    __slots__ = ("_answer", "_asked", "_good_for", "_version", "states")

    def __init__(self, states: Sequence[QueueState]) -> None:
        self.states = tuple(states)
        self._answer: MetricValueList | None = None
        self._version = -1
        self._asked = Moment(0.0, 0.0)
        self._good_for = 0.0

    def answer(self, at: Moment) -> MetricValueList:
        """Raises `MetricUnavailable` when a share is unknown: the sum would be too low."""
        # versions only grow, so their sum is equal only when none has changed
        version = sum([state.version for state in self.states])
        if (
            self._answer is not None
            and version == self._version
            and 0 <= at.monotonic - self._asked.monotonic < self._good_for
            and 0 <= at.wall - self._asked.wall < self._good_for
        ):
            return self._answer
        values, good_for = self._evaluate(at)
        if self._answer is None or self._answer.items != values:
            self._answer = MetricValueList(values)
        self._version, self._asked, self._good_for = version, at, good_for
        return self._answer

    @abstractmethod
    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        """The values, and the seconds for which they stay right if no news comes."""

    def _shares(
        self, metrics: Sequence[QueueMetric], at: Moment, *, fallbacks: bool
    ) -> tuple[list[Measured], float]:
        """The share of each queue in the metric at the same index. Raises `MetricUnavailable`, also for a stand-in
        unless `fallbacks`."""
        shares: list[Measured] = []
        unknown: list[Unknown] = []
        good_for = FOREVER
        for state, metric in zip(self.states, metrics, strict=True):
            share = evaluate(state, metric, at)
            if isinstance(share, Unknown):
                unknown.append(share)
            elif share.fallback and not fallbacks:
                unknown.append(Unknown(state, state.age(now=at.wall, monotonic=at.monotonic)))
            else:
                shares.append(share)
                good_for = min(good_for, share.good_for)
        if unknown:
            raise unavailable(unknown)
        return shares, good_for


class QueueQuestion(Question):
    """One metric of the queues that a selector can match: an item for each, or for each matching part of one."""

    __slots__ = ("_metric", "_selector")

    def __init__(self, metric: QueueMetric, states: Sequence[QueueState], selector: Selector) -> None:
        super().__init__(states)
        self._metric = metric
        self._selector = selector

    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        shares, good_for = self._shares([self._metric] * len(self.states), at, fallbacks=True)
        values: list[MetricValue] = []
        for state, share in zip(self.states, shares, strict=True):
            if share.fallback:
                values.append(self._value({**state.labels, "fallback": "true"}, share))
            elif state.config.series is None:
                values.append(self._value(state.labels, share))
            else:
                good_for = min(good_for, self._add_series(state, at, values))
        if not values:
            raise MetricNotFound(_no_series(self._metric, self.states, self._selector))
        return tuple(values), good_for

    def _add_series(self, state: QueueState, at: Moment, values: list[MetricValue]) -> float:
        """Adds the matching parts of a queue; for how long they are good. Raises `MetricUnavailable`."""
        good_for = FOREVER
        for labels, share in evaluate_series(state, self._metric, at, self._selector):
            if isinstance(share, Unknown):
                raise unavailable([share])
            values.append(self._value(labels, share))
            good_for = min(good_for, share.good_for)
        return good_for

    def _value(self, labels: Mapping[str, str], share: Measured) -> MetricValue:
        return MetricValue(
            metric_name=self._metric,
            labels=labels,
            timestamp=share.measured_at,
            value_milli=share.value_milli,
        )


def _no_series(metric: str, states: Sequence[QueueState], selector: Selector) -> str:
    names = ", ".join(state.config.name for state in states[:_MOST_NAMED])
    return f'{metric}: no series of queue {names} matches "{selector}" now'


class Nothing(Question):
    """What matches nothing until the configuration changes."""

    __slots__ = ("_message",)

    def __init__(self, message: str) -> None:
        super().__init__(())
        self._message = message

    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        raise MetricNotFound(self._message)
