"""Whose APIService it is, by what products leave on it.

Contract: external-metrics-api.md, "Registration" (one APIService exists in a cluster).
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice.ownership import ServiceReference, is_ours, owner_of

JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


def registered(
    namespace: str,
    service: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {"service": {"namespace": namespace, "name": service, "port": 443}},
    }


@pytest.mark.parametrize(
    ("product", "found"),
    [
        ("KEDA", registered("keda", "keda-operator-metrics-apiserver")),
        ("KEDA", registered("scaling", "metrics", {"app.kubernetes.io/part-of": "keda-operator"})),
        ("Datadog Cluster Agent", registered("default", "datadog-cluster-agent-metrics-api")),
        (
            "Datadog Cluster Agent",
            registered("monitoring", "cluster-agent", {"helm.sh/chart": "datadog-3.1"}),
        ),
        ("prometheus-adapter", registered("monitoring", "prometheus-adapter")),
        (
            "prometheus-adapter",
            registered("monitoring", "adapter", {"app.kubernetes.io/name": "prometheus-adapter"}),
        ),
        (
            "Google's custom-metrics Stackdriver adapter",
            registered("custom-metrics", "custom-metrics-stackdriver-adapter"),
        ),
        ("Zalando's kube-metrics-adapter", registered("kube-system", "kube-metrics-adapter")),
        ("another Ottoscaler", registered("queues", "ottoscaler", {"app.kubernetes.io/name": "ottoscaler"})),
        ("an unknown product", registered("somewhere", "metrics", {"team": "a"})),
        ("an unknown product", registered("somewhere", "metrics")),
    ],
)
def test_known_products_are_called_by_their_name(product: str, found: dict[str, Any]) -> None:
    owner = owner_of(found)
    assert owner.product == product
    assert owner.service is not None
    assert str(owner).startswith(f"{product} (Service {owner.service}")


def test_a_helm_release_is_named_because_helm_uninstalls_it() -> None:
    annotations = {"meta.helm.sh/release-name": "keda", "meta.helm.sh/release-namespace": "scaling"}
    owner = owner_of(registered("scaling", "metrics", annotations=annotations))
    assert str(owner) == "KEDA (Service scaling/metrics, Helm release scaling/keda)"


def test_an_api_that_kube_apiserver_serves_itself_has_no_service() -> None:
    owner = owner_of({"metadata": {}, "spec": {}})
    assert owner.service is None
    assert "no Service" in str(owner)


def test_ours_is_what_leads_to_our_service_whatever_its_port_and_labels() -> None:
    ours = ServiceReference(namespace="queues", name="ottoscaler", port=6443)
    assert is_ours(registered("queues", "ottoscaler"), ours)
    assert not is_ours(registered("other", "ottoscaler"), ours)
    assert not is_ours(registered("queues", "another", {"app.kubernetes.io/name": "ottoscaler"}), ours)
    assert not is_ours({"spec": {}}, ours)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "metadata": st.fixed_dictionaries(
                {},
                optional={
                    "labels": st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8)),
                    "annotations": st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8)),
                },
            ),
            "spec": st.fixed_dictionaries({}, optional={"service": JSON}),
        },
    )
)
def test_any_api_service_has_an_owner_that_can_be_said_in_one_line(found: dict[str, Any]) -> None:
    assert owner_of(found).product
