"""A HorizontalPodAutoscaler for a queue, as `autoscaling/v2` wants it.

The types are the part of the API that an external metric needs, so that a wrong field is an error
before the API server sees it. The defaults are the behaviour that existing installations rely on:
quick but not nervous up (a window of 60 s, at most double in 60 s), slow down (a window of 300 s, at
most half in 60 s), because a pod that is taken away may hold a job of two hours.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

QUEUE_DEMAND = "queue_demand"
"""Waiting + processing, so that busy pods stay counted."""
QUEUE_METRICS = (
    QUEUE_DEMAND,
    "queue_failed",
    "queue_oldest_waiting_seconds",
    "queue_processing",
    "queue_stalled",
    "queue_waiting",
)
"""Served of every queue, under the label `queue`; any other metric is derived from several and has none."""

POSITIVE_QUANTITY = (
    r"^\+?([0-9]*[1-9][0-9]*(\.[0-9]*)?|[0-9]*\.[0-9]*[1-9][0-9]*)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
)
"""A Kubernetes quantity above 0, as JSON schema writes patterns."""


class HpaError(ValueError):
    """A manifest that Kubernetes would refuse, or that could not work; the message says which part."""


class ScaleTarget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The workload to scale: anything with a `scale` subresource."""

    name: str
    kind: str = "Deployment"
    api_version: str = "apps/v1"


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """At most `value` pods or percent of the current replicas in each `period_seconds` (1 to 1800)."""

    type: Literal["Pods", "Percent"]
    value: int
    period_seconds: int


class Rules(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One direction: the window (seconds, 0 to 3600) and the policies; the most generous one counts."""

    stabilization_window_seconds: int
    policies: tuple[Policy, ...]
    select_policy: Literal["Max", "Min", "Disabled"] = "Max"


class Behavior(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Both directions."""

    scale_up: Rules = Rules(
        stabilization_window_seconds=60,
        policies=(Policy(type="Percent", value=100, period_seconds=60),),
    )
    scale_down: Rules = Rules(
        stabilization_window_seconds=300,
        policies=(Policy(type="Percent", value=50, period_seconds=60),),
    )


DEFAULT_BEHAVIOR = Behavior()


def render(
    *,
    queue: str | None = None,
    target: ScaleTarget,
    name: str | None = None,
    namespace: str | None = None,
    metric: str = QUEUE_DEMAND,
    jobs_per_pod: str = "1",
    min_replicas: int = 1,
    max_replicas: int = 3,
    behavior: Behavior = DEFAULT_BEHAVIOR,
    selector: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The manifest, as JSON-like data.

    `queue` is needed for the metrics of a queue, and only for them. `jobs_per_pod` is a Kubernetes
    quantity: the average value that one pod shall have. `selector` adds labels to `queue=<queue>`.
    Raises `HpaError`.
    """
    _check_queue(queue, metric)
    if re.fullmatch(POSITIVE_QUANTITY, jobs_per_pod) is None:
        raise HpaError(f"jobsPerPod is {jobs_per_pod[:80]!r}: must be a quantity above 0, such as 2 or 500m")
    _check(min_replicas=min_replicas, max_replicas=max_replicas, behavior=behavior)
    metadata: dict[str, Any] = {"name": name or target.name}
    if namespace is not None:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = dict(labels)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": _plain(target),
            "minReplicas": min_replicas,
            "maxReplicas": max_replicas,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {
                            "name": metric,
                            "selector": {"matchLabels": {**_queue_label(queue), **(selector or {})}},
                        },
                        # AverageValue divides by all current replicas; Value would multiply by ready ones.
                        "target": {"type": "AverageValue", "averageValue": jobs_per_pod},
                    },
                }
            ],
            "behavior": _plain(behavior),
        },
    }


def _queue_label(queue: str | None) -> dict[str, str]:
    return {} if queue is None else {"queue": queue}


def _plain(part: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(part))  # lists, where `to_builtins` leaves tuples


def _check_queue(queue: str | None, metric: str) -> None:
    """A selector that can find nothing would leave the HPA without its metric for ever."""
    if metric in QUEUE_METRICS and queue is None:
        raise HpaError(f"metric {metric} is counted for each queue: say which queue")
    if metric not in QUEUE_METRICS and queue is not None:
        raise HpaError(
            f"metric {metric} is not one of a queue ({', '.join(QUEUE_METRICS)}): leave out queue {queue}"
        )


def _check(*, min_replicas: int, max_replicas: int, behavior: Behavior) -> None:
    """The API server's own limits (pkg/apis/autoscaling/validation)."""
    if min_replicas < 1:
        raise HpaError(f"minReplicas is {min_replicas}: must be 1 or more (0 needs the HPAScaleToZero gate)")
    if max_replicas < min_replicas:
        raise HpaError(f"maxReplicas is {max_replicas}: must be at least minReplicas, {min_replicas}")
    for direction, rules in (("scaleUp", behavior.scale_up), ("scaleDown", behavior.scale_down)):
        if not 0 <= rules.stabilization_window_seconds <= 3600:
            raise HpaError(f"{direction}: the window must be 0 s to 3600 s")
        if not rules.policies:
            raise HpaError(f"{direction}: needs at least one policy")
        for policy in rules.policies:
            if policy.value < 1:
                raise HpaError(f"{direction}: a policy's value must be at least 1, not {policy.value}")
            if not 1 <= policy.period_seconds <= 1800:
                raise HpaError(f"{direction}: a policy's period must be 1 s to 1800 s")
