"""Prometheus metrics of delegated security, registered once for a process.

Label values come from short fixed lists, never from a request, so that nobody outside can grow them.
"""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ReviewKind = Literal["token", "access"]
CacheResult = Literal["hit", "miss"]
CertificateName = Literal["serving", "ca"]


class SecurityMetrics:
    """The counters and gauges that the security parts write."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = CollectorRegistry() if registry is None else registry
        self._reviews = Counter(
            "ottoscaler_apiservice_reviews",
            "Reviews asked of the Kubernetes API (token: TokenReview, access: SubjectAccessReview), by HTTP code",
            ("review", "code"),
            registry=registry,
        )
        self._latency = Histogram(
            "ottoscaler_apiservice_review_seconds",
            "Time that one review took",
            ("review",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=registry,
        )
        self._expiry = Gauge(
            "ottoscaler_apiservice_certificate_expiry_timestamp_seconds",
            "When a certificate in use ends",
            ("certificate",),
            registry=registry,
        )
        self._trust_loaded = Gauge(
            "ottoscaler_apiservice_trust_loaded_timestamp_seconds",
            "When the trust configuration in force (kube-system/extension-apiserver-authentication) was taken over",
            registry=registry,
        )
        self._trust_refused = Gauge(
            "ottoscaler_apiservice_trust_refused",
            "1 while the newest trust configuration is broken and an older one is kept",
            registry=registry,
        )
        self._registration_failing = Gauge(
            "ottoscaler_apiservice_registration_failing",
            "1 while the APIService's caBundle cannot be kept right",
            registry=registry,
        )
        self._certificate_failing = Gauge(
            "ottoscaler_apiservice_certificate_failing",
            "1 while the serving certificate cannot be read or renewed, and the last good one is kept",
            registry=registry,
        )

    def review(self, kind: ReviewKind, code: str, seconds: float) -> None:
        """One review was answered with HTTP `code` (or `error`, `timeout`) after so many seconds."""
        self._reviews.labels(kind, code).inc()
        self._latency.labels(kind).observe(seconds)

    def certificate_expiry(self, name: CertificateName, timestamp: float) -> None:
        self._expiry.labels(name).set(timestamp)

    def trust_loaded(self, timestamp: float) -> None:
        self._trust_loaded.set(timestamp)
        self._trust_refused.set(0)

    def trust_refused(self) -> None:
        self._trust_refused.set(1)

    def registration_failing(self, *, failing: bool) -> None:
        self._registration_failing.set(failing)

    def certificate_failing(self, *, failing: bool) -> None:
        self._certificate_failing.set(failing)
