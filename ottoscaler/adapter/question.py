"""A question that the API asks again and again, and its newest answer.

Every HPA asks the same thing every 15 seconds, and the same object given twice is encoded once. So an
answer is kept until a queue in it has news, until time alone changes it (a job falls silent, a reading
grows too old), or until either clock has left the span for which it was worked out.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ottoscaler.adapter.config.model import QueueMetric
from ottoscaler.adapter.evaluation import FOREVER, Measured, Moment, Unknown, evaluate, unavailable
from ottoscaler.adapter.readings import QueueState
from ottoscaler.apiservice.provider import MetricNotFound, MetricValue, MetricValueList


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

    def _shares(self, metrics: Sequence[QueueMetric], at: Moment) -> tuple[list[Measured], float]:
        """The share of each queue in the metric at the same index. Raises `MetricUnavailable`."""
        shares: list[Measured] = []
        unknown: list[Unknown] = []
        good_for = FOREVER
        for state, metric in zip(self.states, metrics, strict=True):
            share = evaluate(state, metric, at)
            if isinstance(share, Unknown):
                unknown.append(share)
            else:
                shares.append(share)
                good_for = min(good_for, share.good_for)
        if unknown:
            raise unavailable(unknown)
        return shares, good_for


class QueueQuestion(Question):
    """One metric of the queues that a selector matched: an item for each."""

    __slots__ = ("_metric",)

    def __init__(self, metric: QueueMetric, states: Sequence[QueueState]) -> None:
        super().__init__(states)
        self._metric = metric

    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        shares, good_for = self._shares([self._metric] * len(self.states), at)
        pairs = zip(self.states, shares, strict=True)
        return tuple([self._value(state, share) for state, share in pairs]), good_for

    def _value(self, state: QueueState, share: Measured) -> MetricValue:
        return MetricValue(
            metric_name=self._metric,
            labels={**state.labels, "fallback": "true"} if share.fallback else state.labels,
            timestamp=share.measured_at,
            value_milli=share.value_milli,
        )


class Nothing(Question):
    """What matches nothing until the configuration changes."""

    __slots__ = ("_message",)

    def __init__(self, message: str) -> None:
        super().__init__(())
        self._message = message

    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        raise MetricNotFound(self._message)
