"""A pipeline as it was asked for, and how far its run has come; both are kept in the run's ConfigMap."""

from typing import Literal

import msgspec

Status = Literal["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]
FINAL: frozenset[Status] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "SKIPPED"})


class RetryRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a failed worker is run again."""

    attempts: int = 1
    """The first one included."""
    delay: int = 0
    """Seconds."""
    failures: tuple[str, ...] = ()
    """Exit codes, ranges of them, reasons or phases; empty: every failure."""


class StageSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stage as it was asked for."""

    id: str
    count: int
    type: str = ""
    name: str = ""
    depends_on: tuple[str, ...] = ()
    config: dict[str, str] = {}
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    timeout: int = 0
    """Seconds of each attempt; 0: none."""
    retry: RetryRule = RetryRule()


class RunSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pipeline as it was asked for."""

    id: str
    stages: tuple[StageSpec, ...]
    name: str = ""
    repository: str = ""
    commit_sha: str = ""
    triggered_by: str = ""
    metadata: dict[str, str] = {}

    @property
    def workers(self) -> int:
        """Of all stages together."""
        return sum(stage.count for stage in self.stages)


class WorkerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker of a stage. Its pod follows from stage, index and attempt."""

    attempt: int = 1
    created: bool = False
    outcome: Literal["", "ok", "failed"] = ""
    reason: str = ""
    """Why it failed, for people."""
    retryable: bool = False


class StageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a stage has come. Times are seconds since the epoch; 0: not yet."""

    status: Status = "PENDING"
    attempt: int = 1
    """The number of the newest attempt."""
    workers: tuple[WorkerState, ...] = ()
    started_at: float = 0.0
    attempt_at: float = 0.0
    """When the newest attempt's time began to count."""
    ended_at: float = 0.0
    retry_at: float = 0.0
    error: str = ""
    cpu_sum: float = 0.0
    """Cores, one addend a sample of one worker."""
    memory_sum: float = 0.0
    """MiB, likewise."""
    samples: int = 0

    @property
    def succeeded(self) -> int:
        return sum(worker.outcome == "ok" for worker in self.workers)

    @property
    def failed(self) -> int:
        return sum(worker.outcome == "failed" for worker in self.workers)


class RunState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a run has come."""

    started_at: float
    stages: dict[str, StageState]
    ended_at: float = 0.0

    @property
    def over(self) -> bool:
        """Every stage has come to its end."""
        return self.ended_at > 0

    @property
    def outcome(self) -> Status:
        """Of the pipeline as a whole."""
        states = {stage.status for stage in self.stages.values()}
        if "CANCELLED" in states:
            return "CANCELLED"
        if states & {"FAILED", "SKIPPED"}:
            return "FAILED" if self.over else "RUNNING"
        return "COMPLETED" if states == {"COMPLETED"} else "RUNNING"


def begin(spec: RunSpec, *, at: float) -> RunState:
    """A run that has just been asked for."""
    return RunState(started_at=at, stages={stage.id: StageState() for stage in spec.stages})
