"""A pod's phase and conditions out of the states of its containers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.states import Running, State, Terminated, Waiting

Json = dict[str, Any]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class ContainerView:
    """What the pod's status depends on."""

    name: str
    state: State
    last: Terminated | None
    ready: bool


def phase(
    init: Sequence[ContainerView], main: Sequence[ContainerView], *, restart_policy: str, ended: bool
) -> Phase:
    """As `getPhase` in `pkg/kubelet/kubelet_pods.go`; `ended`: nothing will be started any more."""
    failed_init = [view for view in init if isinstance(view.state, Terminated) and view.state.code != 0]
    if failed_init and (restart_policy == "Never" or ended):
        return "Failed"
    if not ended and not all(_succeeded(view) for view in init):
        return "Pending"
    if not ended and any(isinstance(view.state, Waiting) and view.last is None for view in main):
        return "Pending"
    if any(isinstance(view.state, Running) for view in main):
        return "Running"
    if not ended and restart_policy == "Always":
        return "Running"
    if all(_succeeded(view) for view in main):
        return "Succeeded"
    waiting = any(isinstance(view.state, Waiting) for view in main)
    if not ended and restart_policy == "OnFailure":
        return "Running"
    return "Running" if waiting and not ended else "Failed"


def _succeeded(view: ContainerView) -> bool:
    return isinstance(view.state, Terminated) and view.state.code == 0


class Conditions:
    """The pod's conditions with the times of their last change."""

    def __init__(self, previous: Sequence[Json]) -> None:
        self._changes: dict[str, tuple[str, str]] = {
            condition["type"]: (
                condition["status"],
                condition.get("lastTransitionTime") or timestamps.seconds(),
            )
            for condition in previous
        }

    def build(
        self,
        pod: PodObject,
        *,
        phase: Phase,
        sandbox: bool,
        initialized: bool,
        main: Sequence[ContainerView],
    ) -> list[Json]:
        """`sandbox`: the pod has its network; `initialized`: every init container has succeeded."""
        finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
        unready = [view.name for view in main if not view.ready]
        message = "" if finished else f"containers with unready status: [{' '.join(unready)}]"
        reason = finished or "ContainersNotReady"
        containers_ready = not finished and not unready
        gates = [gate["conditionType"] for gate in pod.spec.get("readinessGates") or []]
        others: Mapping[str, str] = {c["type"]: c["status"] for c in pod.status.get("conditions") or []}
        closed = [gate for gate in gates if others.get(gate) != "True"]
        ready_reason = reason if not containers_ready else "ReadinessGatesNotReady"
        return [
            self._condition("PodReadyToStartContainers", sandbox and not finished),
            self._condition("Initialized", initialized, "ContainersNotInitialized"),
            self._condition(
                "Ready", containers_ready and not closed, ready_reason, message if unready else ""
            ),
            self._condition("ContainersReady", containers_ready, reason, message),
            self._condition("PodScheduled", True),
        ]

    def _condition(self, kind: str, holds: bool, reason: str = "", message: str = "") -> Json:
        status = "True" if holds else "False"
        if self._changes.get(kind, ("",))[0] != status:
            self._changes[kind] = status, timestamps.seconds()
        # A strategic merge patch keeps what it is not told: old reasons go by an explicit null.
        return {
            "type": kind,
            "status": status,
            "lastProbeTime": None,
            "lastTransitionTime": self._changes[kind][1],
            "reason": None if holds or not reason else reason,
            "message": None if holds or not message else message,
        }
