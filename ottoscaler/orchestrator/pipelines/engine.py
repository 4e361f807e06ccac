"""Drives every run that is not over: the leader's duty.

It hands each pod and each record that the watches tell of to the run's own drive, and looks after what
has no run any more: pods whose record somebody deleted are stopped.
"""

import asyncio
from collections.abc import Callable

from ottoscaler.orchestrator.index import Change, WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.launch import Launcher
from ottoscaler.orchestrator.naming import run_name
from ottoscaler.orchestrator.pipelines.drive import Drive, Means
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.runs import NoRun, Runs
from ottoscaler.orchestrator.pipelines.slots import slot_of
from ottoscaler.orchestrator.pipelines.state import accounted
from ottoscaler.orchestrator.pipelines.usage import Sample, Sampler
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.worker import Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("pipelines")

_SWEEP = 30.0


class Engine:
    """All runs of one namespace."""

    def __init__(
        self,
        *,
        kube: Kube,
        runs: Runs,
        index: WorkerIndex,
        launcher: Launcher,
        keep: float,
        leading: Callable[[], bool],
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._kube = kube
        self._runs = runs
        self._index = index
        self._launcher = launcher
        self._keep = keep
        self._leading = leading
        self._telemetry = telemetry
        self._clock = clock
        self._drives: dict[str, Drive] = {}
        """By the run's uid."""
        self._early: dict[str, dict[str, Change]] = {}
        """The newest of each pod of runs that the watch of runs has not told of, by the run's uid."""
        self._tasks = TaskSet(_failed)
        self._pulse = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Pods that exist and records that are written are what the next leader starts from."""
        await self._index.synced.wait()
        await self._runs.synced.wait()
        self._drives, self._early = {}, {}
        means = Means(
            kube=self._kube,
            namespace=self._index.namespace,
            runs=self._runs,
            launcher=self._launcher,
            tasks=self._tasks,
            leading=self._leading,
            keep=self._keep,
            since=self._clock.time(),
            telemetry=self._telemetry,
            clock=self._clock,
        )
        stop_pods = self._index.subscribe(self._see_pod)
        stop_runs = self._runs.subscribe(lambda run, gone: self._see_run(run, means, gone=gone))
        sampler = Sampler(self._kube, self._index.namespace, busy=self._busy, take=self._take)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sampler.run(self._clock))
                group.create_task(self._sweep())
        finally:
            stop_pods()
            stop_runs()
            await self._tasks.cancel()

    def _see_pod(self, change: Change) -> None:
        worker = change.worker
        if worker.stage is None:
            return
        drive = self._drives.get(worker.stage.run)
        if drive is not None:
            drive.see_pod(change)
            return
        early = self._early.setdefault(worker.stage.run, {})
        if change.after is None:
            early.pop(worker.name, None)
        else:
            early[worker.name] = change
        if not early:
            del self._early[worker.stage.run]

    def _see_run(self, run: Run, means: Means, *, gone: bool) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
        drive = self._drives.get(run.uid)
        if drive is None:
            if gone:
                return
            drive = self._drives[run.uid] = Drive(run, means)
            for change in self._early.pop(run.uid, {}).values():
                drive.see_pod(change)
            self._tasks.start(self._go(drive, run.uid))
        drive.see_run(run, gone=gone)

    async def _go(self, drive: Drive, uid: str) -> None:
        await drive.go()
        del self._drives[uid]

    async def wait(self, worker: Worker) -> None:
        """Returns when an ended worker has told its run all it can."""
        slot = slot_of(worker)
        if worker.stage is None or slot is None:
            return
        await self._runs.synced.wait()
        backoff = Backoff(initial=0.2, maximum=10.0)
        while True:
            pulse = self._pulse
            try:
                run = await self._run_of(worker)
            except KubeError:
                await self._clock.sleep(backoff.next())
                continue
            if run is None or accounted(run.state, slot):
                return
            await pulse.wait()

    async def _run_of(self, worker: Worker) -> Run | None:
        """The run that a pod is of; None when it is no more. Raises `KubeError`."""
        if worker.stage is None:
            return None
        known = self._runs.by_uid(worker.stage.run)
        if known is not None:
            return known
        try:  # perhaps the watch of runs has not yet told of it
            found = await self._runs.read(run_name(worker.stage.pipeline_id))
        except NoRun:
            return None
        return found if found is not None and found.uid == worker.stage.run else None

    async def _sweep(self) -> None:
        """Stops pods whose run is no more, again and again."""
        while True:
            await self._clock.sleep(_SWEEP)
            for changes in tuple(self._early.values()):
                orphans = [change.worker for change in changes.values() if change.worker.active]
                try:
                    if orphans and await self._run_of(orphans[0]) is None and self._leading():
                        await self._stop(orphans)
                except KubeError as error:
                    log.warning("workers without a run cannot be stopped, trying again", error=error)

    async def _stop(self, orphans: list[Worker]) -> None:
        log.warning("stopping workers whose run is gone", workers=len(orphans), worker=orphans[0].name)
        for worker in orphans:
            try:
                path = pods_path(self._index.namespace, worker.name)
                await self._kube.delete(path, {"preconditions": {"uid": worker.uid}})
            except KubeError as error:
                if error.status not in {404, 409}:
                    raise

    def _busy(self) -> bool:
        return any(not drive.run.state.over for drive in self._drives.values())

    def _take(self, pod: str, sample: Sample) -> None:
        worker = self._index.get(pod)
        if worker is None or worker.stage is None or worker.ended:
            return
        drive = self._drives.get(worker.stage.run)
        if drive is not None and worker.stage.stage_id in drive.run.state.stages:
            drive.tally.add(worker.stage.stage_id, sample)


def _failed(error: BaseException) -> None:
    log.error("a part of a pipeline failed", error=error, exc_info=error)
