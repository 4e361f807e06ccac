"""The manifest carries the default behaviour, and what Kubernetes would refuse is refused here."""

import pytest

from ottoscaler.adapter.config import model
from ottoscaler.hpa.manifest import QUEUE_METRICS, Behavior, HpaError, Policy, Rules, ScaleTarget, render


def test_a_queue_gets_the_default_behaviour() -> None:
    manifest = render(queue="generator", target=ScaleTarget(name="eventstorming-generator"))

    assert manifest == {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "eventstorming-generator"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": "eventstorming-generator",
            },
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {
                            "name": "queue_demand",
                            "selector": {"matchLabels": {"queue": "generator"}},
                        },
                        "target": {"type": "AverageValue", "averageValue": "1"},
                    },
                }
            ],
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 60,
                    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 60}],
                    "selectPolicy": "Max",
                },
                "scaleDown": {
                    "stabilizationWindowSeconds": 300,
                    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
                    "selectPolicy": "Max",
                },
            },
        },
    }


def _rules(*, window: int = 0, value: int = 1, period: int = 1) -> Rules:
    return Rules(
        stabilization_window_seconds=window,
        policies=(Policy(type="Pods", value=value, period_seconds=period),),
    )


@pytest.mark.parametrize(
    ("behavior", "words"),
    [
        (Behavior(scale_up=_rules(window=3601)), "scaleUp: the window"),
        (Behavior(scale_down=_rules(period=0)), "scaleDown: a policy's period"),
        (Behavior(scale_down=_rules(period=1801)), "scaleDown: a policy's period"),
        (Behavior(scale_up=_rules(value=0)), "scaleUp: a policy's value"),
        (Behavior(scale_up=Rules(stabilization_window_seconds=0, policies=())), "scaleUp: needs"),
    ],
)
def test_a_behaviour_that_kubernetes_refuses_is_refused(behavior: Behavior, words: str) -> None:
    with pytest.raises(HpaError, match=words):
        render(queue="q", target=ScaleTarget(name="t"), behavior=behavior)


@pytest.mark.parametrize(
    ("minimum", "maximum", "words"), [(0, 3, "minReplicas"), (-1, 3, "minReplicas"), (4, 3, "maxReplicas")]
)
def test_replica_limits_must_make_sense(minimum: int, maximum: int, words: str) -> None:
    with pytest.raises(HpaError, match=words):
        render(queue="q", target=ScaleTarget(name="t"), min_replicas=minimum, max_replicas=maximum)


def test_a_derived_metric_is_not_looked_for_under_a_queue() -> None:
    manifest = render(target=ScaleTarget(name="t"), metric="total_demand")
    metric = manifest["spec"]["metrics"][0]["external"]["metric"]
    assert metric == {"name": "total_demand", "selector": {"matchLabels": {}}}

    manifest = render(target=ScaleTarget(name="t"), metric="total_demand", selector={"team": "a"})
    metric = manifest["spec"]["metrics"][0]["external"]["metric"]
    assert metric["selector"] == {"matchLabels": {"team": "a"}}


@pytest.mark.parametrize("metric", model.QUEUE_METRICS)
def test_a_metric_of_a_queue_needs_one(metric: str) -> None:
    with pytest.raises(HpaError, match=f"^metric {metric} is counted for each queue: say which queue$"):
        render(target=ScaleTarget(name="t"), metric=metric)
    render(queue="q", target=ScaleTarget(name="t"), metric=metric)


def test_a_derived_metric_with_a_queue_is_refused() -> None:
    with pytest.raises(HpaError, match=r"metric total is not one of a queue .*: leave out queue q$"):
        render(queue="q", target=ScaleTarget(name="t"), metric="total")


def test_the_metrics_of_a_queue_are_those_that_are_served() -> None:
    assert QUEUE_METRICS == model.QUEUE_METRICS


def test_a_selector_narrows_beside_the_queue() -> None:
    manifest = render(queue="q", target=ScaleTarget(name="t"), selector={"team": "a"}, namespace="n")

    metric = manifest["spec"]["metrics"][0]["external"]["metric"]
    assert metric["selector"]["matchLabels"] == {"queue": "q", "team": "a"}
    assert manifest["metadata"]["namespace"] == "n"
