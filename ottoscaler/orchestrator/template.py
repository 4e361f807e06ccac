"""The pod of a worker: the installation's template under what an order and the contract decide.

The template is a core/v1 PodTemplateSpec as JSON. Where both speak, the order wins over the template
for image, command and variables; the contract's labels, `restartPolicy: Never` and the deadline always
hold. Lists that Kubernetes merges by name (containers, env) are merged by name here too.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ottoscaler.orchestrator import worker as notes
from ottoscaler.orchestrator.naming import MANAGED_BY, label_value
from ottoscaler.orchestrator.orders import Facts, Origin
from ottoscaler.orchestrator.worker import CONTAINER, QUOTA_GATE, StageWorker

_NOT_IN_A_VARIABLE = re.compile(r"[^A-Z0-9_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """A worker to be created."""

    name: str
    task_id: str
    index: int
    """From 1."""
    count: int
    """How many its order asked for."""
    origin: Origin
    facts: Facts
    image: str = ""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    stage: StageWorker | None = None
    stage_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDefaults:
    """What the configuration says of every worker. Quantities are Kubernetes'."""

    image: str
    limits: Mapping[str, str]
    requests: Mapping[str, str]
    active_deadline: float
    """Seconds that a worker may run."""
    template: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    """Whether workers wait for a quota of ours."""


def build_pod(spec: WorkerSpec, defaults: PodDefaults) -> dict[str, Any]:
    """The body of the pod's creation."""
    template: dict[str, Any] = copy.deepcopy(dict(defaults.template))
    metadata = template.get("metadata") or {}
    pod: dict[str, Any] = template.get("spec") or {}
    containers: list[dict[str, Any]] = pod.get("containers") or []
    ours = next((each for each in containers if each.get("name") == CONTAINER), None)
    if ours is None:
        ours = {"name": CONTAINER}
        containers = [ours, *containers]
    _fill_container(ours, spec, defaults)
    pod["containers"] = containers
    pod["restartPolicy"] = "Never"
    pod["activeDeadlineSeconds"] = _deadline(pod.get("activeDeadlineSeconds"), defaults.active_deadline)
    if defaults.gated:
        gates = [gate for gate in pod.get("schedulingGates") or () if gate.get("name") != QUOTA_GATE]
        pod["schedulingGates"] = [*gates, {"name": QUOTA_GATE}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "labels": {**(metadata.get("labels") or {}), **_labels(spec)},
            "annotations": {**(metadata.get("annotations") or {}), **_annotations(spec)},
        },
        "spec": pod,
    }


def _fill_container(container: dict[str, Any], spec: WorkerSpec, defaults: PodDefaults) -> None:
    container["image"] = spec.image or container.get("image") or defaults.image
    if spec.command:
        container["command"] = list(spec.command)
        container.pop("args", None)
    if spec.args:
        container["args"] = list(spec.args)
    resources = container.get("resources") or {}
    limits = {**defaults.limits, **(resources.get("limits") or {})}
    # A request above its limit is refused, so a template that only lowers the limit lowers both.
    lowered = {key: limits[key] for key in (resources.get("limits") or {}) if key in defaults.requests}
    requests = {**defaults.requests, **lowered, **(resources.get("requests") or {})}
    container["resources"] = {**resources, "limits": limits, "requests": requests}
    variables = _variables(spec)
    given = [entry for entry in container.get("env") or () if entry.get("name") not in variables]
    container["env"] = [{"name": name, "value": value} for name, value in variables.items()] + given


def _deadline(given: Any, configured: float) -> int:
    """The shorter of the template's own and the configured one."""
    ours = max(1, round(configured))
    return min(given, ours) if isinstance(given, int) and given > 0 else ours


def _labels(spec: WorkerSpec) -> dict[str, str]:
    labels = {
        **MANAGED_BY,
        "app": "otto-agent",
        "task-id": label_value(spec.task_id),
        "worker-index": str(spec.index),
    }
    if spec.stage is not None:
        labels["pipeline-id"] = label_value(spec.stage.pipeline_id)
        labels["stage-id"] = label_value(spec.stage.stage_id)
        if spec.stage_type:
            labels["stage-type"] = label_value(spec.stage_type)
    return labels


def _annotations(spec: WorkerSpec) -> dict[str, str]:
    annotations = {notes.TASK: spec.task_id, notes.REQUESTED_AT: str(round(spec.origin.at * 1000))}
    if spec.origin.event is not None:
        annotations[notes.EVENT] = spec.origin.event
    if spec.origin.request is not None:
        annotations[notes.REQUEST] = spec.origin.request
    if spec.stage is not None:
        annotations[notes.RUN] = spec.stage.run
        annotations[notes.PIPELINE] = spec.stage.pipeline_id
        annotations[notes.STAGE] = spec.stage.stage_id
        annotations[notes.ATTEMPT] = str(spec.stage.attempt)
    return annotations


def _variables(spec: WorkerSpec) -> dict[str, str]:
    """What the worker's program is told. An order cannot set a variable outside `OTTO_`."""
    facts = spec.facts
    variables = {
        f"OTTO_{kind}_{_NOT_IN_A_VARIABLE.sub('_', key.upper())}": _literal(value)
        for kind, said in (("METADATA", facts.metadata), ("CONFIG", facts.config))
        for key, value in sorted(said.items())
    }
    variables |= {
        "OTTO_TASK_ID": _literal(spec.task_id),
        "OTTO_WORKER_ID": spec.name,
        "OTTO_WORKER_INDEX": str(spec.index),
        "OTTO_WORKER_COUNT": str(spec.count),
    }
    if spec.stage is not None:
        variables |= {
            "OTTO_PIPELINE_ID": _literal(spec.stage.pipeline_id),
            "OTTO_STAGE_ID": _literal(spec.stage.stage_id),
            "OTTO_ATTEMPT": str(spec.stage.attempt),
        }
    known = {
        "OTTO_REPOSITORY": facts.repository,
        "OTTO_COMMIT_SHA": facts.commit_sha,
        "OTTO_TRIGGERED_BY": facts.triggered_by,
        "OTTO_REASON": facts.reason,
    }
    return variables | {name: _literal(value) for name, value in known.items() if value}


def _literal(value: str) -> str:
    """Kubernetes expands `$(NAME)` in values and reads `$$` as `$`; a caller's text means itself."""
    return value.replace("$", "$$")
