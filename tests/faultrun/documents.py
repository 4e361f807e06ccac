"""Random documents and writes of a job queue, by a seeded generator: true to the contract, and not."""

import random
import time
from dataclasses import dataclass
from typing import Any

from tests.faultrun.truth import Values
from tests.unit.adapter.firebase.truth import Truth

_STALLED_AFTER = 300.0

_STRAYS: tuple[Any, ...] = (7, True, "text", -1.5, [1, "x"], {"deep": {"er": 1}}, 1e30)


def document(rng: random.Random) -> dict[str, Any]:
    """A job in any state; one in five has something of a wrong type or a historic form."""
    now = time.time()
    job: dict[str, Any] = {"createdAt": int(now * 1000), "inputs": {"text": "x" * rng.randrange(50)}}
    match rng.randrange(6):
        case 0 | 1:
            job["status"] = "pending"
        case 2 | 3:
            age = rng.choice([0, 5, 20, 290, 600])
            job |= {
                "status": "processing",
                "assignedPodId": f"pod-{rng.randrange(9)}",
                "lastHeartbeat": now - age,
            }
        case 4:
            job |= {"status": "failed", "failedAt": now}
    if rng.random() < 0.2:
        name = rng.choice(["status", "assignedPodId", "lastHeartbeat", "createdAt"])
        value = job.get(name)
        job[name] = {name: value} if value is not None and rng.random() < 0.5 else rng.choice(_STRAYS)
    return job


def node(rng: random.Random, *, most: int = 12) -> dict[str, Any]:
    """A whole queue with jobs in it."""
    return {f"job-{number}": document(rng) for number in range(rng.randrange(2, most))}


@dataclass(frozen=True, slots=True)
class Documents:
    """The contract's truth about some documents."""

    truth: Truth

    def values(self, wall: float) -> Values:
        truth = self.truth
        silent = sum(heartbeat <= wall - _STALLED_AFTER for heartbeat in truth.heartbeats)
        return (truth.waiting, truth.waiting + len(truth.heartbeats) - silent, silent, truth.failed)
