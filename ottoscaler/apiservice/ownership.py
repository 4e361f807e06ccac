"""Who owns the cluster's one external-metrics API.

There is a single `APIService` of the name, and every autoscaling product wants it. Taking it from another
breaks that product's HPAs, so its owner is recognised and named in words that a person can act on.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

GROUP: Final = "external.metrics.k8s.io"
VERSION: Final = "v1beta1"
API_SERVICE: Final = f"{VERSION}.{GROUP}"
PRODUCT_LABEL: Final = "app.kubernetes.io/name"
PRODUCT: Final = "ottoscaler"

_PRODUCTS = (
    # (part of a label value, of the release's name or of the service's name; product)
    ("keda", "KEDA"),
    ("datadog", "Datadog Cluster Agent"),
    ("prometheus-adapter", "prometheus-adapter"),
    ("stackdriver", "Google's custom-metrics Stackdriver adapter"),
    ("kube-metrics-adapter", "Zalando's kube-metrics-adapter"),
    ("azure-k8s-metrics-adapter", "azure-k8s-metrics-adapter"),
    ("k8s-cloudwatch-adapter", "k8s-cloudwatch-adapter"),
    ("newrelic", "New Relic metrics adapter"),
    ("dynatrace", "Dynatrace"),
    ("splunk", "Splunk"),
    ("ingressmonitor", "IngressMonitorController"),
    (PRODUCT, "another Ottoscaler"),
)
_LABELS = (
    PRODUCT_LABEL,
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/instance",
    "helm.sh/chart",
    "app",
    "k8s-app",
)


class ServiceReference(msgspec.Struct, frozen=True, kw_only=True):
    """The Service behind an APIService."""

    namespace: str
    name: str
    port: int = 443

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose APIService it is."""

    product: str
    """The product's name, or "an unknown product"."""
    service: ServiceReference | None
    """None: kube-apiserver itself is told to serve the group."""
    release: str | None = None
    """The Helm release (`namespace/name`) that installed it."""

    def __str__(self) -> str:
        where = f"Service {self.service}" if self.service else "no Service"
        release = f", Helm release {self.release}" if self.release else ""
        return f"{self.product} ({where}{release})"


def service_of(api_service: Mapping[str, Any]) -> ServiceReference | None:
    """The Service that an APIService sends requests to."""
    service = (api_service.get("spec") or {}).get("service")
    if not isinstance(service, dict):
        return None
    return ServiceReference(
        namespace=str(service.get("namespace") or ""),
        name=str(service.get("name") or ""),
        port=int(service.get("port") or 443),
    )


def owner_of(api_service: Mapping[str, Any]) -> Owner:
    """Who installed an APIService, by its labels, its Helm release and its Service."""
    metadata = api_service.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    service = service_of(api_service)
    release = annotations.get("meta.helm.sh/release-name")
    clues = [str(labels[label]) for label in _LABELS if labels.get(label)]
    clues += [release or "", service.name if service else "", service.namespace if service else ""]
    text = " ".join(clues).lower()
    product = next((product for mark, product in _PRODUCTS if mark in text), "an unknown product")
    namespace = annotations.get("meta.helm.sh/release-namespace")
    return Owner(
        product=product,
        service=service,
        release=f"{namespace}/{release}" if release and namespace else release,
    )


def is_ours(api_service: Mapping[str, Any], service: ServiceReference) -> bool:
    """Whether an APIService leads to `service` (its port aside, which may change)."""
    found = service_of(api_service)
    return found is not None and (found.namespace, found.name) == (service.namespace, service.name)
