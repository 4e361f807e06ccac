"""What the chart renders, with Helm's own engine and no cluster."""

from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from ottoscaler.hpa.manifest import Behavior, Policy, Rules, ScaleTarget, render

CHART = Path(__file__).parents[3] / "charts" / "ottoscaler"


def _objects(values: dict[str, Any] | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    rendered = helm_python.Chart.load(CHART).render(values or {}, name="ottoscaler", namespace="scaling")
    documents = (
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    )
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def test_the_chart_lints() -> None:
    report = helm_python.lint(CHART, strict=True)
    assert [each for each in report["messages"] if each["severity"] > 1] == []


def test_an_hpa_entry_is_what_the_command_renders() -> None:
    objects = _objects({"hpas": [{"queue": "generator", "target": {"name": "eventstorming-generator"}}]})

    hpa = objects["HorizontalPodAutoscaler", "eventstorming-generator"]
    expected = render(
        queue="generator", target=ScaleTarget(name="eventstorming-generator"), namespace="scaling"
    )
    hpa["metadata"].pop("labels")
    assert hpa == expected


def test_an_hpa_entry_takes_everything() -> None:
    up = {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
        "selectPolicy": "Max",
    }
    objects = _objects(
        {
            "hpas": [
                {
                    "name": "streams",
                    "namespace": "jobs",
                    "queue": "events",
                    "metric": "queue_waiting",
                    "jobsPerPod": "2500m",
                    "minReplicas": 2,
                    "maxReplicas": 9,
                    "target": {"kind": "StatefulSet", "name": "worker"},
                    "selector": {"team": "a"},
                    "behavior": {"scaleUp": up},
                }
            ]
        }
    )

    hpa = objects["HorizontalPodAutoscaler", "streams"]
    hpa["metadata"].pop("labels")
    assert hpa == render(
        name="streams",
        namespace="jobs",
        queue="events",
        metric="queue_waiting",
        jobs_per_pod="2500m",
        min_replicas=2,
        max_replicas=9,
        target=ScaleTarget(kind="StatefulSet", name="worker"),
        selector={"team": "a"},
        behavior=Behavior(
            scale_up=Rules(
                stabilization_window_seconds=0,
                policies=(Policy(type="Pods", value=4, period_seconds=15),),
            )
        ),
    )


def test_pods_run_restricted() -> None:
    pod = _objects()["Deployment", "ottoscaler"]["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_rights_are_the_least_that_work() -> None:
    objects = _objects()
    rules = [
        rule
        for (kind, _), each in objects.items()
        if kind in ("Role", "ClusterRole")
        for rule in each["rules"]
    ]

    for rule in rules:
        assert "*" not in rule["verbs"]
        if "*" in rule["resources"]:
            assert rule["apiGroups"] == ["external.metrics.k8s.io"]
        if set(rule["verbs"]) & {"update", "patch", "delete"} or "secrets" in rule["resources"]:
            assert rule["resourceNames"], rule


def test_the_bundle_is_left_to_the_adapter_and_never_skipped() -> None:
    spec = _objects()["APIService", "v1beta1.external.metrics.k8s.io"]["spec"]
    assert "caBundle" not in spec
    assert "insecureSkipTLSVerify" not in spec
    assert (spec["groupPriorityMinimum"], spec["versionPriority"]) == (100, 100)


def test_cert_manager_writes_the_bundle_of_its_certificate() -> None:
    objects = _objects({"certificate": {"mode": "certManager"}})
    api_service = objects["APIService", "v1beta1.external.metrics.k8s.io"]

    assert api_service["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "scaling/ottoscaler"}
    certificate = objects["Certificate", "ottoscaler"]["spec"]
    assert certificate["dnsNames"] == ["ottoscaler.scaling.svc"]
    volumes = objects["Deployment", "ottoscaler"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "certificate", "secret": {"secretName": certificate["secretName"]}} in volumes
    assert ("Secret", "ottoscaler-serving") not in objects


def test_a_given_secret_needs_its_name_and_bundle() -> None:
    with pytest.raises(helm_python.HelmError, match="secretName"):
        _objects({"certificate": {"mode": "secret"}})
    with pytest.raises(helm_python.HelmError, match="caBundle"):
        _objects({"certificate": {"mode": "secret", "secretName": "mine"}})
    objects = _objects({"certificate": {"mode": "secret", "secretName": "mine", "caBundle": "PEM"}})
    assert objects["APIService", "v1beta1.external.metrics.k8s.io"]["spec"]["caBundle"] == "UEVN"
