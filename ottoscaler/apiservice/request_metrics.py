"""Prometheus metrics of the request path.

Counting a request must cost less than answering it, so the counts are plain numbers here, made into
metrics when somebody collects them. Label values are few and ours: verbs, status codes, kinds of endpoint,
never a word of the request.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

_BOUNDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


class RequestMetrics:
    """A collector. One for a server."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0
        self._authenticated: Counter[tuple[str, str]] = Counter()
        self.in_flight = 0
        """Requests that wait for a review."""
        self.connections = 0
        if registry is not None:
            registry.register(self)

    def answered(self, verb: str, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests[verb, endpoint, status] += 1
        self._buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def refused(self, status: int) -> None:
        """Something that was no HTTP request was answered."""
        self._requests["", "malformed", status] += 1

    def authenticated(self, method: str, result: str) -> None:
        """A caller was, or was not, told apart by `method`."""
        self._authenticated[method, result] += 1

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "ottoscaler_apiservice_requests",
            "Requests answered, by verb, kind of endpoint and HTTP status code",
            labels=("verb", "endpoint", "code"),
        )
        for (verb, endpoint, status), count in self._requests.items():
            requests.add_metric((verb, endpoint, str(status)), count)
        yield requests
        yield self._histogram()
        authentications = CounterMetricFamily(
            "ottoscaler_apiservice_authentications",
            "Requests whose caller was asked for, by method and result",
            labels=("method", "result"),
        )
        for labels, count in self._authenticated.items():
            authentications.add_metric(labels, count)
        yield authentications
        yield GaugeMetricFamily(
            "ottoscaler_apiservice_requests_in_flight",
            "Requests that wait for a review by the Kubernetes API",
            value=self.in_flight,
        )
        yield GaugeMetricFamily(
            "ottoscaler_apiservice_connections", "Open connections", value=self.connections
        )

    def _histogram(self) -> Metric:
        total = 0
        buckets = []
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._buckets, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(
            "ottoscaler_apiservice_request_seconds",
            "Time from a request's last byte to its answer",
            buckets=buckets,
            sum_value=self._seconds,
        )
