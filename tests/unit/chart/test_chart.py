"""What the chart renders, with Helm's own engine and no cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from ottoscaler.hpa.manifest import QUEUE_METRICS, Behavior, HpaError, Policy, Rules, ScaleTarget, render
from ottoscaler.orchestrator.config.load import from_text
from ottoscaler.orchestrator.config.model import Certificates

CHART = Path(__file__).parents[3] / "charts" / "ottoscaler"


def _objects(
    values: dict[str, Any] | None = None, *, name: str = "ottoscaler", namespace: str = "scaling"
) -> dict[tuple[str, str], dict[str, Any]]:
    rendered = helm_python.Chart.load(CHART).render(values or {}, name=name, namespace=namespace)
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


@pytest.mark.parametrize("selector", [{}, {"team": "a"}])
def test_an_hpa_entry_for_a_derived_metric_names_no_queue(selector: dict[str, str]) -> None:
    entry = {"metric": "total_demand", "target": {"name": "worker"}, "selector": selector}
    hpa = _objects({"hpas": [entry]})["HorizontalPodAutoscaler", "worker"]

    hpa["metadata"].pop("labels")
    target = ScaleTarget(name="worker")
    assert hpa == render(metric="total_demand", target=target, namespace="scaling", selector=selector)


@pytest.mark.parametrize("metric", QUEUE_METRICS)
def test_an_hpa_entry_for_a_metric_of_a_queue_needs_one(metric: str) -> None:
    entry = {"metric": metric, "target": {"name": "worker"}}
    with pytest.raises(helm_python.HelmError, match=f"metric {metric} is counted for each queue: say which"):
        _objects({"hpas": [entry]})
    _objects({"hpas": [{"queue": "q", **entry}]})


def test_an_hpa_entry_for_a_derived_metric_refuses_a_queue() -> None:
    entry = {"metric": "total", "queue": "q", "target": {"name": "worker"}}
    with pytest.raises(helm_python.HelmError, match=r"hpas\[0\]: metric total is not one of a queue"):
        _objects({"hpas": [entry]})


@pytest.mark.parametrize("jobs", ["1", "0.5", "500m", "1.50", "1e3", "2Ki", ".5", "+3", 4])
def test_jobs_per_pod_are_a_quantity(jobs: str | int) -> None:
    entry = {"queue": "q", "target": {"name": "t"}, "jobsPerPod": jobs}
    hpa = _objects({"hpas": [entry]})["HorizontalPodAutoscaler", "t"]

    hpa["metadata"].pop("labels")
    target = ScaleTarget(name="t")
    assert hpa == render(queue="q", target=target, namespace="scaling", jobs_per_pod=str(jobs))


@pytest.mark.parametrize("jobs", [0, -1, "0", "0.0", "-1", "0m", "0e5", "", "many", "1 ", "1\n"])
def test_no_jobs_per_pod_are_refused(jobs: str | int) -> None:
    with pytest.raises(helm_python.HelmError, match="jobsPerPod"):
        _objects({"hpas": [{"queue": "q", "target": {"name": "t"}, "jobsPerPod": jobs}]})
    with pytest.raises(HpaError, match="jobsPerPod"):
        render(queue="q", target=ScaleTarget(name="t"), jobs_per_pod=str(jobs))


def test_what_one_process_logs_is_not_what_the_other_logs() -> None:
    def levels(adapter: dict[str, Any], orchestrator: dict[str, Any]) -> tuple[str, str]:
        config = ORCHESTRATOR["config"] | {"log": orchestrator}
        values = {"config": {"queues": [], "log": adapter}, "orchestrator": ORCHESTRATOR | {"config": config}}
        data = _objects(values)["ConfigMap", "ottoscaler"]["data"]
        first, second = (yaml.safe_load(data[f"{name}.yaml"])["log"] for name in ("config", "orchestrator"))
        assert first["format"] == second["format"] == "json"
        return first["level"], second["level"]

    assert levels({}, {}) == ("info", "info")
    assert levels({}, {"level": "error"}) == ("info", "error")
    assert levels({"level": "debug"}, {}) == ("debug", "info")
    assert levels({"level": "debug"}, {"level": "error"}) == ("debug", "error")


NUMBER = "123"
NAMES = {
    "name",
    "namespace",
    "secretName",
    "serviceAccountName",
    "priorityClassName",
    "image",
    "kind",
    "apiVersion",
}


def _names(part: Any) -> Iterator[tuple[str, Any]]:
    """Whatever Kubernetes takes for text only."""
    if isinstance(part, list):
        for each in part:
            yield from _names(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key in NAMES and not isinstance(value, dict):
                yield key, value
            elif key in ("labels", "matchLabels", "annotations", "resourceNames", "data"):
                yield from ((key, each) for each in (value.values() if isinstance(value, dict) else value))
            else:
                yield from _names(value)


@pytest.mark.parametrize("mode", ["own", "certManager", "secret"])
def test_names_of_digits_stay_text(mode: str) -> None:
    orchestrator = {
        "enabled": True,
        "config": {"events": None, "workers": {"namespace": NUMBER}, "lease": {"name": NUMBER}},
        "redisPasswordSecret": {"name": NUMBER},
        "tls": {"secretName": NUMBER},
    }
    target = {"name": NUMBER, "kind": NUMBER, "apiVersion": NUMBER}
    entry = {"namespace": NUMBER, "target": target, "selector": {"a": NUMBER}}
    values = {
        "image": {"repository": NUMBER, "tag": "45"},
        "certificate": {
            "mode": mode,
            "secretName": NUMBER,
            "caBundle": NUMBER,
            "issuerRef": {"name": NUMBER},
        },
        "hpaController": {"serviceAccount": NUMBER, "namespace": NUMBER},
        "hpas": [entry | {"queue": NUMBER}, entry | {"name": NUMBER, "metric": NUMBER}],
        "orchestrator": orchestrator,
        "priorityClassName": NUMBER,
        "podAnnotations": {"a": NUMBER},
        "imagePullSecrets": [{"name": NUMBER}],
    }

    found = list(_names(list(_objects(values, name=NUMBER, namespace=NUMBER).values())))
    assert [each for each in found if not isinstance(each[1], str)] == []
    assert {key for key, value in found if value == NUMBER} >= {"name", "namespace", "secretName", "labels"}


def test_pods_run_restricted() -> None:
    pod = _objects()["Deployment", "ottoscaler"]["spec"]["template"]["spec"]

    assert pod["enableServiceLinks"] is False
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


def test_the_bundle_of_cert_manager_outlives_the_serving_certificate() -> None:
    objects = _objects({"certificate": {"mode": "certManager"}})
    leaf, ca = (objects["Certificate", name]["spec"] for name in ("ottoscaler", "ottoscaler-ca"))

    assert leaf["issuerRef"] == {"name": "ottoscaler-ca", "kind": "Issuer"}
    assert "isCA" not in leaf
    assert objects["Issuer", "ottoscaler-ca"]["spec"] == {"ca": {"secretName": ca["secretName"]}}
    assert ca["secretName"] != leaf["secretName"]
    assert (ca["isCA"], ca["privateKey"]["rotationPolicy"]) == (True, "Never")
    assert ca["commonName"], "a CA without a name is none"
    assert objects["Issuer", ca["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}


def test_an_issuer_that_is_given_signs_alone() -> None:
    given = {"name": "corporate", "kind": "ClusterIssuer"}
    objects = _objects({"certificate": {"mode": "certManager", "issuerRef": given}})

    made = [key for key in objects if key[0] in ("Certificate", "Issuer")]
    assert made == [("Certificate", "ottoscaler")]
    assert objects["Certificate", "ottoscaler"]["spec"]["issuerRef"] == given


def test_a_given_secret_needs_its_name_and_bundle() -> None:
    with pytest.raises(helm_python.HelmError, match="secretName"):
        _objects({"certificate": {"mode": "secret"}})
    with pytest.raises(helm_python.HelmError, match="caBundle"):
        _objects({"certificate": {"mode": "secret", "secretName": "mine"}})
    objects = _objects({"certificate": {"mode": "secret", "secretName": "mine", "caBundle": "PEM"}})
    assert objects["APIService", "v1beta1.external.metrics.k8s.io"]["spec"]["caBundle"] == "UEVN"


ORCHESTRATOR: dict[str, Any] = {
    "enabled": True,
    "config": {
        "workers": {"namespace": "ci"},
        "events": {"redis": {"url": "redis://redis:6379/0"}},
        "handler": None,
        "lease": {"name": "ours"},
    },
    "redisPasswordSecret": {"name": "redis"},
    "tls": {"secretName": "grpc", "clientCA": True},
}


def test_without_the_orchestrator_there_is_no_trace_of_it() -> None:
    objects = _objects()
    assert "orchestrator" not in yaml.safe_dump(list(objects.values()))
    pod = objects["Deployment", "ottoscaler"]["spec"]["template"]
    assert [each["name"] for each in pod["spec"]["containers"]] == ["adapter"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 15


def test_the_orchestrator_is_a_second_container_of_the_same_pod() -> None:
    objects = _objects({"orchestrator": ORCHESTRATOR})
    pod = objects["Deployment", "ottoscaler"]["spec"]["template"]["spec"]
    adapter, orchestrator = pod["containers"]

    assert adapter["image"] == orchestrator["image"]
    assert orchestrator["args"] == ["orchestrator", "--config", "/etc/ottoscaler/orchestrator.yaml"]
    assert adapter["securityContext"] == orchestrator["securityContext"]
    assert {each["name"]: each["containerPort"] for each in orchestrator["ports"]} == {
        "grpc": 9090,
        "orchestrator": 8081,
    }
    ports = {each["name"] for each in objects["Service", "ottoscaler"]["spec"]["ports"]}
    assert ports == {"https", "http", "grpc", "orchestrator"}
    mounted = {each["name"]: each["mountPath"] for each in orchestrator["volumeMounts"]}
    assert mounted == {
        "config": "/etc/ottoscaler",
        "redis-password": "/redis-password",
        "grpc-tls": "/grpc-tls",
    }
    assert set(mounted) <= {each["name"] for each in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] > 10, "more than the grace of the process"


def test_what_the_chart_writes_is_a_configuration_that_the_orchestrator_takes() -> None:
    text = _objects({"orchestrator": ORCHESTRATOR})["ConfigMap", "ottoscaler"]["data"]["orchestrator.yaml"]
    settings = from_text(text.encode(), name="orchestrator.yaml", environ={})

    assert settings.workers.namespace == "ci"
    assert settings.handler is None
    assert settings.events is not None
    assert settings.events.redis.password_file == Path("/redis-password/password")
    assert settings.grpc.tls == Certificates(
        cert_file=Path("/grpc-tls/tls.crt"),
        key_file=Path("/grpc-tls/tls.key"),
        client_ca_file=Path("/grpc-tls/ca.crt"),
    )


def test_a_changed_orchestrator_configuration_makes_new_pods() -> None:
    def annotations(**config: Any) -> dict[str, str]:
        values = {"podAnnotations": {"a": "b"}, "orchestrator": {"enabled": True, "config": config}}
        objects = _objects(values)
        found: dict[str, str] = objects["Deployment", "ottoscaler"]["spec"]["template"]["metadata"][
            "annotations"
        ]
        return found

    assert annotations(events=None) == annotations(events=None)
    assert annotations(events=None) != annotations(events=None, grace="20s")
    assert annotations(events=None)["a"] == "b"


def test_workers_are_in_the_namespace_of_the_release_unless_it_is_given() -> None:
    objects = _objects({"orchestrator": {"enabled": True, "config": {"events": None}}})
    settings = yaml.safe_load(objects["ConfigMap", "ottoscaler"]["data"]["orchestrator.yaml"])
    assert settings["workers"]["namespace"] == "scaling"
    assert settings["events"] is None, "no stream is read"
    again = {"enabled": True, "config": {"events": None}, "redisPasswordSecret": {"name": "redis"}}
    text = _objects({"orchestrator": again})["ConfigMap", "ottoscaler"]["data"]["orchestrator.yaml"]
    assert yaml.safe_load(text)["events"] is None, "a password alone asks for no stream"
    assert objects["Role", "ottoscaler-orchestrator"]["metadata"]["namespace"] == "scaling"


def test_the_orchestrator_may_do_what_it_does_in_one_namespace_and_nothing_else() -> None:
    plain, objects = _objects(), _objects({"orchestrator": ORCHESTRATOR})
    more = {key for key in objects if key not in plain}
    assert more == {("Role", "ottoscaler-orchestrator"), ("RoleBinding", "ottoscaler-orchestrator")}
    role = objects["Role", "ottoscaler-orchestrator"]
    assert role["metadata"]["namespace"] == "ci"
    may = {
        "/".join([*each["apiGroups"], *each["resources"], *each.get("resourceNames", ())]): set(each["verbs"])
        for each in role["rules"]
    }
    assert may == {
        "/pods": {"get", "list", "watch", "create", "patch", "delete"},
        "/pods/log": {"get"},
        "/configmaps": {"get", "list", "watch", "create", "update", "patch", "delete"},
        "metrics.k8s.io/pods": {"list"},
        "coordination.k8s.io/leases": {"create"},
        "coordination.k8s.io/leases/ours": {"get", "update"},
    }
    binding = objects["RoleBinding", "ottoscaler-orchestrator"]
    assert binding["metadata"]["namespace"] == "ci"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "ottoscaler", "namespace": "scaling"}]


@pytest.mark.parametrize(
    ("orchestrator", "message"),
    [
        ({"enabled": True}, "orchestrator.config.events must say where Redis is"),
        ({"config": {"events": {"redis": {}}}}, "url"),
        ({"config": {"evnts": None}}, "evnts"),
        ({"config": {"workers": {"retain": "soon"}}}, "retain"),
        ({"config": {"quota": {"perTask": 0}}}, "perTask"),
        ({"replicas": 2}, "replicas"),
    ],
)
def test_helm_refuses_what_the_orchestrator_would_refuse(orchestrator: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message):
        _objects({"orchestrator": orchestrator})
