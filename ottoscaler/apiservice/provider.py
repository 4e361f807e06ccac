"""What an external-metrics API server is asked for, and how a provider answers.

A provider answers from memory: `read` is a plain call, not a coroutine, so no I/O can slip into the
request path, where one slow answer would delay every HorizontalPodAutoscaler of the cluster.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ottoscaler.apiservice.media_types import Choice
from ottoscaler.apiservice.response import Response
from ottoscaler.apiservice.selector import Selector


class MetricValue(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an `ExternalMetricValueList`."""

    metric_name: str
    labels: Mapping[str, str]
    timestamp: float
    """When it was measured: seconds since the epoch."""
    value_milli: int
    """The value in thousandths; never negative."""
    window_seconds: int | None = None

    def __post_init__(self) -> None:
        if self.value_milli < 0:
            raise ValueError(f"a negative value for {self.metric_name}: {self.value_milli}m")


class MetricValueList:
    """An answer: at least one value (an empty list is an error to the HPA), in a stable order.

    The server keeps each encoding of it in `encoded`, keyed by representation: return the same object
    while nothing changed, and it is encoded once for each instead of once for each request.
    """

    __slots__ = ("encoded", "items")

    def __init__(self, items: Sequence[MetricValue]) -> None:
        self.items = tuple(items)
        if not self.items:
            raise ValueError("an answer without a value: raise MetricNotFound or MetricUnavailable instead")
        self.encoded: dict[Choice, Response] = {}


class MetricNotFound(Exception):
    """No such metric, or nothing that the selector matches is visible from the namespace (404).

    The message is shown to people."""


class MetricUnavailable(Exception):
    """The value is not known now (503): the caller must hold. The message is shown to people."""


class MetricsProvider(Protocol):
    """Where the values come from."""

    def list_metrics(self) -> Sequence[str]:
        """The names of the metrics that exist: few (discovery lists them), sorted, at least one."""
        ...

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        """The values of `name` that `selector` matches and `namespace` may see.

        Raises `MetricNotFound` or `MetricUnavailable`. Never blocks; never answers with an empty list,
        which the HPA takes for an error, nor with a value that was not measured.
        """
        ...
