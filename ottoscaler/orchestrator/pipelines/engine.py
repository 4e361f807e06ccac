"""Drives every run that is not over: the leader's duty.

One task a run. It wakes when a pod of the run or its record changes, or when a time comes, asks
`state.advance` what follows, writes that, and only then creates and removes pods.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ottoscaler.orchestrator import worker as notes
from ottoscaler.orchestrator.index import Change, WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.launch import Launcher, OrderLost, Patience
from ottoscaler.orchestrator.naming import pipeline_pod
from ottoscaler.orchestrator.orders import Facts, Origin
from ottoscaler.orchestrator.pipelines.model import RunSpec, RunState, StageSpec
from ottoscaler.orchestrator.pipelines.runs import Run, Runs
from ottoscaler.orchestrator.pipelines.state import Slot, accounted, advance, unwanted, wake_at, wanted
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import WorkerSpec
from ottoscaler.orchestrator.worker import StageWorker, Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("pipelines")

_LONGEST_SLEEP = 60.0


@dataclass(eq=False, slots=True)
class _Drive:
    """What is known of one run besides its record."""

    run: Run
    pods: dict[Slot, Worker] = field(default_factory=dict)
    refused: dict[Slot, str] = field(default_factory=dict)
    created: set[Slot] = field(default_factory=set)
    """Created by us; in the record with the next step, so that a pod that somebody deletes is known to have been."""
    launching: dict[Slot, asyncio.Event] = field(default_factory=dict)
    """Slots whose creation is under way; the event stops it."""
    removing: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


def slot_of(worker: Worker) -> Slot | None:
    """Which worker of which stage and attempt a pod is; None when it belongs to no run."""
    if worker.stage is None:
        return None
    return Slot(worker.stage.stage_id, worker.stage.attempt, worker.index)


def pod_name(run: Run, slot: Slot) -> str:
    """The same for the same slot of the same run, always."""
    return pipeline_pod(run.spec.id, slot.stage, run.uid, slot.attempt, slot.number)


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
        self._drives: dict[str, _Drive] = {}
        self._early: dict[str, dict[Slot, Worker]] = {}
        """Pods of runs that the watch of runs has not told of yet, by the run's uid."""
        self._tasks = TaskSet(_failed)
        self._pulse = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Pods that exist and records that are written are what the next leader starts from."""
        await self._index.synced.wait()
        await self._runs.synced.wait()
        self._drives, self._early = {}, {}
        stop_pods = self._index.subscribe(self._see_pod)
        stop_runs = self._runs.subscribe(self._see_run)
        try:
            await asyncio.Event().wait()
        finally:
            stop_pods()
            stop_runs()
            await self._tasks.cancel()

    def _see_pod(self, change: Change) -> None:
        worker = change.worker
        slot = slot_of(worker)
        if worker.stage is None or slot is None:
            return
        drive = self._drives.get(worker.stage.run)
        pods = drive.pods if drive is not None else self._early.setdefault(worker.stage.run, {})
        if change.after is None:
            pods.pop(slot, None)
        else:
            pods[slot] = worker
        if drive is not None:
            drive.changed.set()
        elif not pods:
            self._early.pop(worker.stage.run, None)

    def _see_run(self, run: Run, gone: bool) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
        drive = self._drives.get(run.uid)
        if drive is None:
            if gone:
                return
            drive = self._drives[run.uid] = _Drive(run, pods=self._early.pop(run.uid, {}))
            self._tasks.start(self._drive(drive))
        drive.run = run
        drive.gone = gone
        drive.changed.set()

    async def _drive(self, drive: _Drive) -> None:
        backoff = Backoff(initial=0.2, maximum=10.0)
        name = drive.run.spec.id[:80]
        while not drive.gone:
            try:
                pause = await self._step(drive)
                backoff.reset()
            except KubeError as error:
                log.warning("a pipeline's step failed, trying again", pipeline=name, error=error)
                await self._reread(drive)
                pause = backoff.next()
            except Exception as error:  # supervised here: one run must not end the others
                log.exception("a pipeline's step failed, trying again", pipeline=name, error=error)
                pause = backoff.next()
            await self._wait(drive, pause)
        for stop in drive.launching.values():
            stop.set()
        self._drives.pop(drive.run.uid, None)

    async def _wait(self, drive: _Drive, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await drive.changed.wait()
        except TimeoutError:
            return

    async def _reread(self, drive: _Drive) -> None:
        """After a conflict the record is another than the watch has told of."""
        try:
            newest = await self._runs.read(drive.run.name)
        except KubeError:
            return
        if newest is not None and newest.uid == drive.run.uid:
            drive.run = newest

    async def _step(self, drive: _Drive) -> float:
        """One step; the seconds until the next unless something changes. Raises `KubeError`."""
        drive.changed.clear()
        run, now = drive.run, self._clock.time()
        if run.state.over:
            return await self._over(drive, now)
        state = advance(
            run.spec,
            run.state,
            drive.pods,
            now=now,
            cancelled=run.cancelled,
            refused=drive.refused,
            created=drive.created,
        )
        if state != run.state:
            drive.run = await self._runs.write(run, state)
            self._observe(run.spec, run.state, state)
        self._create(drive)
        self._remove(drive)
        at = wake_at(run.spec, state)
        return _LONGEST_SLEEP if at is None else max(0.0, min(_LONGEST_SLEEP, at - self._clock.time()))

    async def _over(self, drive: _Drive, now: float) -> float:
        self._remove(drive)
        left = drive.run.state.ended_at + self._keep - now
        if left <= 0 and not any(pod.active for pod in drive.pods.values()):
            await self._runs.remove(drive.run)
            return _LONGEST_SLEEP
        return max(1.0, min(_LONGEST_SLEEP, left))

    def _create(self, drive: _Drive) -> None:
        state = drive.run.state
        needed = set(wanted(drive.run.spec, state, drive.pods))
        for slot, stop in drive.launching.items():
            if slot not in needed and slot not in drive.pods:
                stop.set()
        fresh = [slot for slot in needed if slot not in drive.launching and slot not in drive.refused]
        by_stage: dict[str, list[Slot]] = {}
        for slot in sorted(fresh):
            by_stage.setdefault(slot.stage, []).append(slot)
        for slots in by_stage.values():
            stop = asyncio.Event()
            drive.launching |= dict.fromkeys(slots, stop)
            self._tasks.start(self._launch(drive, slots, stop))

    async def _launch(self, drive: _Drive, slots: list[Slot], stop: asyncio.Event) -> None:
        specs = {slot: self._spec(drive.run, slot) for slot in slots}
        try:
            launch = await self._launcher.launch(list(specs.values()), Patience(attempts=2, superseded=stop))
            drive.refused |= {
                slot: launch.refused[spec.name] for slot, spec in specs.items() if spec.name in launch.refused
            }
            if any(spec.name in launch.existing and slot not in drive.pods for slot, spec in specs.items()):
                await self._clock.sleep(
                    1.0
                )  # the last leader made it a moment ago: the watch will tell of it
            drive.created |= {slot for slot, spec in specs.items() if spec.name in launch.names}
        except OrderLost:
            return  # the Lease is lost; the next leader goes on
        finally:
            for slot in slots:
                drive.launching.pop(slot, None)
            drive.changed.set()

    def _spec(self, run: Run, slot: Slot) -> WorkerSpec:
        spec = run.spec
        stage = next(each for each in spec.stages if each.id == slot.stage)
        return WorkerSpec(
            name=pod_name(run, slot),
            task_id=spec.id,
            index=slot.number,
            count=stage.count,
            origin=Origin(key=run.uid, at=self._clock.time()),
            facts=_facts(spec, stage),
            image=stage.image,
            command=stage.command,
            args=stage.args,
            stage=StageWorker(run=run.uid, pipeline_id=spec.id, stage_id=slot.stage, attempt=slot.attempt),
            stage_type=stage.type,
        )

    def _remove(self, drive: _Drive) -> None:
        for pod in unwanted(drive.run.state, drive.pods):
            if pod.uid not in drive.removing:
                drive.removing.add(pod.uid)
                self._tasks.start(self._remove_one(drive, pod))
        if drive.run.state.outcome == "CANCELLED":
            for pod in drive.pods.values():
                if pod.ended and not pod.released and pod.uid not in drive.removing:
                    drive.removing.add(pod.uid)
                    self._tasks.start(self._release_one(drive, pod))

    async def _remove_one(self, drive: _Drive, pod: Worker) -> None:
        try:
            path = pods_path(self._index.namespace, pod.name)
            await self._kube.delete(path, {"preconditions": {"uid": pod.uid}})
        except KubeError as error:
            await self._failed_to_remove(drive, pod, error)

    async def _release_one(self, drive: _Drive, pod: Worker) -> None:
        note = {"metadata": {"uid": pod.uid, "annotations": {notes.RELEASED: "true"}}}
        try:
            await self._kube.patch(pods_path(self._index.namespace, pod.name), note)
        except KubeError as error:
            await self._failed_to_remove(drive, pod, error)

    async def _failed_to_remove(self, drive: _Drive, pod: Worker, error: KubeError) -> None:
        if error.status in {404, 409}:
            return
        log.warning("a worker of a pipeline cannot be removed, trying again", worker=pod.name, error=error)
        await self._clock.sleep(1.0)
        drive.removing.discard(pod.uid)
        drive.changed.set()

    async def _confirm(self) -> None:
        """A leader that was stopped for a while must not act on what it knew before."""
        if not self._leading():
            raise OrderLost

    async def wait(self, worker: Worker) -> None:
        """Returns when an ended worker has told its run all it can."""
        while not self.accounted(worker):
            await self._pulse.wait()

    def accounted(self, worker: Worker) -> bool:
        """Whether an ended worker has told its run all it can."""
        slot = slot_of(worker)
        if worker.stage is None or slot is None:
            return True
        run = self._runs.by_uid(worker.stage.run)
        return run is None or accounted(run.state, slot)

    def _observe(self, spec: RunSpec, before: RunState, after: RunState) -> None:
        for stage in spec.stages:
            old, new = before.stages[stage.id], after.stages[stage.id]
            if new.ended_at and not old.ended_at and new.started_at:
                self._telemetry.stages.labels(new.status.lower()).observe(new.ended_at - new.started_at)
        if after.over and not before.over:
            self._telemetry.pipelines.labels(after.outcome.lower()).observe(after.ended_at - after.started_at)
            log.info("pipeline ended", pipeline=spec.id[:80], outcome=after.outcome.lower())


def _facts(spec: RunSpec, stage: StageSpec) -> Facts:
    return Facts(
        repository=spec.repository,
        commit_sha=spec.commit_sha,
        triggered_by=spec.triggered_by,
        config=stage.config,
        metadata=spec.metadata,
    )


def _failed(error: BaseException) -> None:
    log.error("a part of a pipeline failed", error=error, exc_info=error)
