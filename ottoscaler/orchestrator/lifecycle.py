"""What happened to a worker, told in order whatever the watch saw of it.

A watch may skip states, repeat them, and after a relist show only the last one. From the versions
that were seen this derives the transitions that people are told of: created first, running at most
once, exactly one end, and nothing after the end.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from ottoscaler.orchestrator.worker import Worker


class Stage(IntEnum):
    """How far a worker has come; the numbers are those of `WorkerStatusNotification.StatusType`."""

    CREATED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    TERMINATED = 4

    @property
    def final(self) -> bool:
        """Nothing comes after it."""
        return self >= Stage.COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A worker has come to `stage` at `at`, seconds since the epoch."""

    stage: Stage
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Track:
    """What has been told of one worker."""

    told: Stage | None = None
    last: Worker | None = None

    @property
    def over(self) -> bool:
        return self.told is not None and self.told.final


def advance(track: Track, worker: Worker) -> tuple[Track, list[Transition]]:
    """The track after `worker`, the newest version seen, and what is new to tell."""
    if track.over:
        return replace(track, last=worker), []
    news: list[Transition] = []
    if track.told is None:
        news.append(Transition(stage=Stage.CREATED, at=worker.created_at, reason=""))
    if worker.started_at is not None and (track.told is None or track.told < Stage.RUNNING):
        news.append(Transition(stage=Stage.RUNNING, at=worker.started_at, reason=""))
    if worker.ended:
        news.append(_end(worker))
    return Track(news[-1].stage if news else track.told, worker), news


def vanish(track: Track, *, at: float) -> tuple[Track, list[Transition]]:
    """The track after the pod is gone from the API, and what is new to tell."""
    if track.over or track.last is None:
        return track, []
    reason = "removed before it ended" if track.last.deleting_at is not None else "the pod is gone"
    end = Transition(stage=Stage.TERMINATED, at=at, reason=reason)
    return replace(track, told=end.stage), [end]


def _end(worker: Worker) -> Transition:
    """A worker that ended after its deletion was asked for was terminated, however it left."""
    at = worker.finished_at or worker.created_at
    if worker.deleting_at is not None and at >= worker.deleting_at:
        return Transition(stage=Stage.TERMINATED, at=at, reason="removed before it ended")
    if worker.phase == "Succeeded":
        return Transition(stage=Stage.COMPLETED, at=at, reason="")
    return Transition(stage=Stage.FAILED, at=at, reason=worker.explain())
