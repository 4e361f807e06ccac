"""How many workers may run at once, for one task and in all, and who is next.

With a quota every worker is created behind a scheduling gate: its pod exists, so nothing is lost and
everybody sees it waiting, but the scheduler leaves it alone until the leader lifts the gate. The
leader is the only one that lifts gates, so no two replicas admit at the same time.

A task's workers are admitted in the order in which they were asked for. Between tasks the one with the
fewest running goes first, so a task that asks for a thousand does not keep out one that asks for two.
"""

import asyncio
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ottoscaler.orchestrator.index import Change, WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.worker import ADMITTED, QUOTA_GATE, Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("quota")

_CONCURRENCY = 16
_RETRY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Workers at once; None: no limit."""

    per_task: int | None = None
    total: int | None = None

    @property
    def any(self) -> bool:
        """Whether workers have to wait for anything at all."""
        return self.per_task is not None or self.total is not None


def admit(workers: Iterable[Worker], limits: Limits) -> list[Worker]:
    """Those of the waiting workers that may start now, in the order in which they may."""
    waiting: defaultdict[str, deque[Worker]] = defaultdict(deque)
    running: Counter[str] = Counter()
    for worker in sorted(workers, key=_order):
        if not worker.active:
            continue
        if worker.gated:
            waiting[worker.task_id].append(worker)
        else:
            running[worker.task_id] += 1
    room = None if limits.total is None else limits.total - running.total()
    queue = [(running[task], _order(ones[0]), task) for task, ones in waiting.items()]
    heapq.heapify(queue)
    admitted: list[Worker] = []
    while queue and (room is None or len(admitted) < room):
        count, _, task = heapq.heappop(queue)
        if limits.per_task is not None and count >= limits.per_task:
            continue
        admitted.append(waiting[task].popleft())
        if waiting[task]:
            heapq.heappush(queue, (count + 1, _order(waiting[task][0]), task))
    return admitted


def _order(worker: Worker) -> tuple[float, str, int, str]:
    return worker.requested_at, worker.event or worker.request or "", worker.index, worker.name


class Quota:
    """Lifts gates while it runs: a leader's duty."""

    def __init__(
        self, *, kube: Kube, index: WorkerIndex, limits: Limits, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._kube = kube
        self._index = index
        self._limits = limits
        self._telemetry = telemetry
        self._clock = clock
        self._moved = asyncio.Event()
        self._lifted: dict[str, str] = {}
        """Uid to version of workers whose gate is lifted, until the watch tells of it."""

    async def run(self) -> None:
        """Until cancelled. Gates of a quota that was configured earlier are lifted too."""
        await self._index.synced.wait()
        # An earlier term may have been cut off at a gate, and nobody looked since: the index tells what is lifted.
        self._lifted.clear()
        unsubscribe = self._index.subscribe(self._see)
        try:
            while True:
                await self._moved.wait()
                self._moved.clear()
                if not await self._admit():
                    await self._clock.sleep(_RETRY)
                    self._moved.set()
        finally:
            unsubscribe()

    def _see(self, change: Change) -> None:
        worker = change.worker
        if change.after is None or not worker.gated:
            self._lifted.pop(worker.uid, None)
        before = change.before
        if change.after is None or before is None or worker.gated or before.active != worker.active:
            self._moved.set()

    async def _admit(self) -> bool:
        """False when a gate could not be lifted, so that it must be tried again."""
        known = [_open(each) if each.uid in self._lifted else each for each in self._index]
        admitted = admit(known, self._limits)
        slots = asyncio.Semaphore(_CONCURRENCY)
        failed = False

        async def one(worker: Worker) -> None:
            nonlocal failed
            async with slots:
                if not await self._lift(worker):
                    failed = True

        async with asyncio.TaskGroup() as group:
            for worker in admitted:
                group.create_task(one(worker))
        return not failed

    async def _lift(self, worker: Worker) -> bool:
        patch = {
            "metadata": {"uid": worker.uid, "annotations": {ADMITTED: str(round(self._clock.time() * 1000))}},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": QUOTA_GATE}]},
        }
        self._lifted[worker.uid] = worker.version
        try:
            await self._kube.patch(pods_path(self._index.namespace, worker.name), patch, kind="strategic")
        except KubeError as error:
            self._lifted.pop(worker.uid, None)
            if error.status in {404, 409}:
                return True
            log.warning("a worker cannot be admitted, trying again", worker=worker.name, error=error)
            return False
        self._telemetry.quota_wait.observe(max(0.0, self._clock.time() - worker.requested_at))
        return True


def _open(worker: Worker) -> Worker:
    """The worker as the watch will soon tell of it."""
    return replace(worker, gated=False)
