"""Metrics over several queues: one pod may take four entries of a stream or one Firebase job.

Parts are weighted, then summed, or the greatest counts. The result is as old as its oldest part, and
unknown as soon as one part is; a queue's fallback stands in for the queue alone, and makes no sum.
"""

from collections.abc import Sequence

from ottoscaler.adapter.config.model import DerivedMetric
from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.question import Question
from ottoscaler.adapter.readings import QueueState
from ottoscaler.apiservice.provider import MetricValue

_MICRO = 1_000_000
_MOST_MILLI = 2**63 - 1
"""A quantity is 64 bits of thousandths."""


def weighted(value_milli: int, weight: float) -> int:
    """`value_milli` times `weight` (exact to a millionth), rounded up as quantities are."""
    return -(-value_milli * round(weight * _MICRO) // _MICRO)


class DerivedQuestion(Question):
    """One derived metric; `states` are the queues of its parts, in their order."""

    __slots__ = ("_metric",)

    def __init__(self, metric: DerivedMetric, states: Sequence[QueueState]) -> None:
        super().__init__(states)
        self._metric = metric

    def _evaluate(self, at: Moment) -> tuple[tuple[MetricValue, ...], float]:
        shares, good_for = self._shares([part.metric for part in self._metric.of], at, fallbacks=False)
        parts = zip(shares, self._metric.of, strict=True)
        milli = [weighted(share.value_milli, part.weight) for share, part in parts]
        value = MetricValue(
            metric_name=self._metric.name,
            labels=self._metric.labels,
            timestamp=min(share.measured_at for share in shares),
            value_milli=min(_MOST_MILLI, max(milli) if self._metric.combine == "max" else sum(milli)),
        )
        return (value,), good_for
