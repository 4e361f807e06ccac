"""A pipeline as it was asked for, and how far its run has come; both are kept in the run's ConfigMap.

A ConfigMap holds 1 MiB, so the state is written compactly and every text in it has a greatest size:
`largest` is the state that takes most room, and a pipeline whose largest state would not fit is refused
before it begins.
"""

from typing import Final, Literal

import msgspec

Status = Literal["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED", "SKIPPED"]
FINAL: Final[frozenset[Status]] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "SKIPPED"})

MOST_ATTEMPTS: Final = 100
REASONS: Final = 4
"""Distinct reasons of failure that a stage remembers."""
REASON_SIZE: Final = 240
ERROR_SIZE: Final = 600
"""Bytes of UTF-8."""


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
    """Seconds that a worker may take from the creation of its pod, or from its admission when a quota of
    ours kept it waiting; 0: none."""
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


class WorkerState(msgspec.Struct, frozen=True, array_like=True):
    """One worker of a stage. Its pod follows from stage, index and attempt."""

    attempt: int = 1
    created: bool = False
    """Its pod has been seen."""
    outcome: Literal["", "ok", "failed"] = ""
    retryable: bool = False
    """The policy calls its failure retryable."""


class StageState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a stage has come. Times are seconds since the epoch; 0: not yet."""

    status: Status = "PENDING"
    attempt: int = 1
    """The number of the newest attempt."""
    workers: tuple[WorkerState, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why workers of the newest attempt failed, for people; each once."""
    started_at: float = 0.0
    attempt_at: float = 0.0
    """When the newest attempt began."""
    ended_at: float = 0.0
    retry_at: float = 0.0
    """When the next attempt may begin, while there is one to come."""
    error: str = ""
    """Of the last attempt that failed."""
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


def largest(spec: RunSpec) -> RunState:
    """The state of `spec` that takes the most bytes when written."""
    at = 1_234_567_890.123_456_7
    worker = WorkerState(attempt=MOST_ATTEMPTS, created=True, outcome="failed", retryable=False)
    return RunState(
        started_at=at,
        ended_at=at,
        stages={
            stage.id: StageState(
                status="CANCELLED",
                attempt=MOST_ATTEMPTS,
                workers=(worker,) * stage.count,
                reasons=('"' * REASON_SIZE,) * REASONS,
                started_at=at,
                attempt_at=at,
                ended_at=at,
                retry_at=at,
                error='"' * ERROR_SIZE,
                cpu_sum=at,
                memory_sum=at,
                samples=10**9,
            )
            for stage in spec.stages
        },
    )


def brief(text: str, size: int) -> str:
    """`text` in one line of at most `size` bytes of UTF-8; in JSON at most twice as many."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    whole = line.encode(errors="replace")
    if len(whole) <= size:
        return whole.decode()
    return whole[: size - 3].decode(errors="ignore") + "…"
