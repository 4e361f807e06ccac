"""Values of a metric as an `ExternalMetricValueList`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ottoscaler.apiservice.discovery import GROUP_VERSION, KIND
from ottoscaler.apiservice.media_types import Choice
from ottoscaler.apiservice.provider import MetricValue
from ottoscaler.apiservice.quantity import format_milli
from ottoscaler.apiservice.response import Response, encode


def metric_values(items: Sequence[MetricValue], choice: Choice) -> Response:
    """The answer to a read, in a media type."""
    content: dict[str, Any] = {
        "kind": KIND,
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "items": [_item(value) for value in items],
    }
    return Response(200, encode(content, choice), content_type=choice.content_type)


def _item(value: MetricValue) -> dict[str, Any]:
    item: dict[str, Any] = {
        "metricName": value.metric_name,
        "metricLabels": dict(sorted(value.labels.items())),
        "timestamp": timestamp(value.timestamp),
    }
    if value.window_seconds is not None:
        item["window"] = value.window_seconds
    item["value"] = format_milli(value.value_milli)
    return item


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as metav1.Time writes them: RFC 3339, UTC, no fraction."""
    return _timestamp(int(seconds))


@lru_cache(maxsize=64)
def _timestamp(seconds: int) -> str:
    """The moments of one answer are few: queues are read together."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
