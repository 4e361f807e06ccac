"""One run: writers write, faults happen one after the other on each queue, a judge watches, and then all is still.

A fault is over when the queue's failures speak of it (where it is one that they must speak of) and the queue
has been measured again since.
"""

import asyncio
import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ottoscaler.adapter.config.model import Config, Root
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.sources.base import SourceContext
from ottoscaler.adapter.supervisor import Supervisor
from tests.faultrun.clock import JumpingClock
from tests.faultrun.judge import Judge, TruthLog, Verdict

_PATIENCE = 60.0
_POLL_SECONDS = 0.005


class Scene(Protocol):
    """A backend with queues, and what can go wrong with it."""

    clock: JumpingClock
    truths: dict[str, TruthLog]
    kinds: Sequence[str]

    def config(self) -> Config:
        """The adapter's configuration."""
        ...

    async def write(self, queue: str) -> None:
        """A random change of a queue, which its truth log learns of."""
        ...

    async def inflict(self, kind: str, queue: str) -> bool:
        """Makes one fault happen to a queue, or begin to; whether it must show as a failure."""
        ...


@dataclass(frozen=True, slots=True)
class Possessions:
    """What a process holds."""

    tasks: int
    threads: int
    sockets: int
    rss_mib: float

    @classmethod
    def now(cls) -> "Possessions":
        gc.collect()
        links = [_link(entry) for entry in Path("/proc/self/fd").iterdir()]
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            sockets=sum(link.startswith("socket:") for link in links),
            rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        )


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


async def run(scene: Scene, *, faults: int, seed: int, max_age: float) -> Verdict:
    """`faults` faults, shared among the queues of the scene."""
    readings = Readings(scene.clock)
    judge = Judge(readings, scene.truths, scene.clock, max_age=max_age)
    context = SourceContext(clock=scene.clock, environ={})
    async with Supervisor(readings, context) as supervisor:
        supervisor.apply(scene.config())
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(judge.run()),
                *(tasks.create_task(_write_for_ever(scene, queue, seed)) for queue in scene.truths),
            ]
            shares = _shares(faults, list(scene.truths))
            campaigns = [
                tasks.create_task(_campaign(scene, readings, judge, queue, share, seed))
                for queue, share in shares.items()
            ]
            await asyncio.gather(*campaigns)
            await _calm(judge, scene, time.monotonic())
            for task in background:
                task.cancel()
    return judge.verdict


async def _write_for_ever(scene: Scene, queue: str, seed: int) -> None:
    rng = random.Random(f"{seed} writes {queue}")
    while True:
        await asyncio.sleep(rng.uniform(0.05, 1.2))
        await scene.write(queue)


async def _campaign(
    scene: Scene, readings: Readings, judge: Judge, queue: str, faults: int, seed: int
) -> None:
    rng = random.Random(f"{seed} faults {queue}")
    await _until(lambda: judge.measured_after(queue, 0.0))
    for _ in range(faults):
        await asyncio.sleep(rng.uniform(0.0, 0.05))
        kind = rng.choice(scene.kinds)
        before, began = _failures(readings, queue), time.monotonic()
        must_show = await scene.inflict(kind, queue)
        judge.verdict.faults[kind] += 1
        if must_show and not await _until(lambda before=before: _failures(readings, queue) > before):
            judge.verdict.unseen[kind] += 1
        over = time.monotonic()
        if not await _until(lambda over=over: judge.measured_after(queue, over)):
            state = readings.get(queue)
            raise AssertionError(f"{queue} did not recover from {kind}: {state and state.failure}")
        judge.verdict.slowest_recovery = max(judge.verdict.slowest_recovery, time.monotonic() - began)


async def _calm(judge: Judge, scene: Scene, ended: float) -> None:
    """After the last fault every queue is fresh again."""
    for queue in scene.truths:
        if not await _until(lambda queue=queue: judge.measured_after(queue, ended)):
            raise AssertionError(f"{queue} is not fresh again")


def _failures(readings: Readings, queue: str) -> int:
    state = readings.get(queue)
    return 0 if state is None else state.failures.total()


async def _until(condition: "Condition") -> bool:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


class Condition(Protocol):
    """Something that becomes true."""

    def __call__(self) -> bool: ...


def _shares(faults: int, queues: list[str]) -> Counter[str]:
    return Counter(queues[index % len(queues)] for index in range(faults))


def configuration(queues: Sequence[object], **backends: object) -> Config:
    """A configuration made of parts."""
    return Config(root=Root(), queues=tuple(queues), backends=backends, digest="")  # type: ignore[arg-type]
