"""What a container is doing, in the API's three words."""

from dataclasses import dataclass
from typing import Any

from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.runtime.protocol import ContainerRecord

Json = dict[str, Any]
MESSAGE_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not started, or not started again yet."""

    reason: str
    message: str = ""

    def to_json(self) -> Json:
        return {"waiting": {"reason": self.reason} | ({"message": self.message} if self.message else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Its program was started. `started` is seconds since the epoch."""

    started: float

    def to_json(self) -> Json:
        return {"running": {"startedAt": timestamps.seconds(self.started)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    """Its program ended, or could never be executed."""

    code: int
    reason: str
    message: str = ""
    started: float
    finished: float
    container_id: str = ""

    def to_json(self) -> Json:
        state: Json = {
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": timestamps.seconds(self.started),
            "finishedAt": timestamps.seconds(self.finished),
        }
        if self.message:
            state["message"] = self.message[:MESSAGE_CHARACTERS]
        if self.container_id:
            state["containerID"] = self.container_id
        return {"terminated": state}


State = Waiting | Running | Terminated


def container_id(record_id: str) -> str:
    """A runtime's container as the API names it."""
    return f"process://{record_id}"


def terminated(record: ContainerRecord, *, message: str = "") -> Terminated:
    """The state of a container whose record has an exit."""
    assert record.exit is not None
    code, error = record.exit.code, record.exit.error
    reason = "StartError" if error is not None else "Completed" if code == 0 else "Error"
    return Terminated(
        code=code,
        reason=reason,
        message=error or message,
        started=record.started if error is None else 0.0,
        finished=record.exit.finished,
        container_id=container_id(record.id),
    )


def from_json(state: Json) -> State | None:
    """A state out of a pod's status; None when there is none."""
    if waiting := state.get("waiting"):
        return Waiting(reason=waiting.get("reason", ""), message=waiting.get("message", ""))
    if running := state.get("running"):
        return Running(started=_time(running.get("startedAt")))
    if ended := state.get("terminated"):
        return Terminated(
            code=ended["exitCode"],
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
            started=_time(ended.get("startedAt")),
            finished=_time(ended.get("finishedAt")),
            container_id=ended.get("containerID", ""),
        )
    return None


def _time(text: str | None) -> float:
    return timestamps.parse(text).timestamp() if text else 0.0


def lost(started: float, identifier: str) -> Terminated:
    """A container that ran when it was last seen and that the runtime does not know any more."""
    return Terminated(
        code=137,
        reason="ContainerStatusUnknown",
        message="The container could not be located when the kubelet looked for it",
        started=started,
        finished=timestamps.now().timestamp(),
        container_id=identifier,
    )
