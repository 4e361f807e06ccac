"""Drives one run: asks `state.advance` what follows, writes that, and only then creates and removes pods.

It wakes when a pod of the run or its record changes, or when a time comes. A record is written at most
at `_BYTES_PER_SECOND`, so that a run of a thousand workers costs etcd no more than a small one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ottoscaler.orchestrator import worker as notes
from ottoscaler.orchestrator.index import Change
from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.launch import Launcher, OrderLost, Patience
from ottoscaler.orchestrator.pipelines.marks import ends_at
from ottoscaler.orchestrator.pipelines.model import RunState
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.runs import NoRun, Runs
from ottoscaler.orchestrator.pipelines.slots import pod_name, slot_of, worker_spec
from ottoscaler.orchestrator.pipelines.state import (
    Seen,
    Slot,
    accounted,
    advance,
    missing,
    unwanted,
    wake_at,
    wanted,
)
from ottoscaler.orchestrator.pipelines.usage import Tally
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("pipelines")

_LONGEST_SLEEP = 60.0
_SPACING = 0.02
_BYTES_PER_SECOND = 1024 * 1024
_ASKED_AT_ONCE = 8

Settling = Callable[[str, Worker], Awaitable[None]]
"""Does with the pod at a path what is to be done with it. Raises `KubeError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every drive acts by."""

    kube: Kube
    namespace: str
    runs: Runs
    launcher: Launcher
    tasks: TaskSet
    leading: Callable[[], bool]
    keep: float
    """Seconds for which the record of a run that is over is kept."""
    since: float
    """When this leader began, by the wall clock."""
    telemetry: Telemetry
    clock: Clock


class Drive:
    """One run. `see_pod` and `see_run` are told by the watches; `go` does the work."""

    def __init__(self, run: Run, means: Means) -> None:
        self.run = run
        self.pods: dict[Slot, Worker] = {}
        """Those that exist, and those that ended and went before they were accounted for."""
        self.tally = Tally()
        self._means = means
        self._refused: dict[Slot, str] = {}
        self._made: set[Slot] = set()
        """Seen or created by us, so that a pod that somebody deletes is known to have been."""
        self._gone: set[Slot] = set()
        """The API server says that they are no more."""
        self._vanished: set[Slot] = set()
        """Ended and removed, and kept in `pods` until the record knows how."""
        self._launching: dict[Slot, asyncio.Event] = {}
        """Slots whose creation is under way; the event stops it."""
        self._removing: set[str] = set()
        self._changed = asyncio.Event()
        self._over = False

    def see_pod(self, change: Change) -> None:
        """A pod of the run has changed, or is gone; what is said of it last may be how it ended."""
        worker = change.worker
        slot = slot_of(worker)
        if slot is None:
            return
        self._made.add(slot)
        if change.after is not None:
            self.pods[slot] = worker
        elif worker.ended and not accounted(self.run.state, slot):
            self.pods[slot] = worker
            self._vanished.add(slot)
        else:
            self.pods.pop(slot, None)
            self._removing.discard(worker.uid)
        self._changed.set()

    def see_run(self, run: Run, *, gone: bool) -> None:
        """The record has changed, or is gone: then the run is over, whatever it was doing."""
        self.run = run
        self._over = gone
        self._changed.set()

    async def go(self) -> None:
        """Until the record is gone, and every pod with it."""
        means = self._means
        backoff = Backoff(initial=0.2, maximum=10.0)
        name = self.run.spec.id[:80]
        while not self._over:
            try:
                pause = await self._step()
                backoff.reset()
            except KubeError as error:
                if error.status != 409:
                    log.warning("a pipeline's step failed, trying again", pipeline=name, error=error)
                await self._reread()
                pause = backoff.next()
            except Exception as error:  # supervised here: one run must not end the others
                log.exception("a pipeline's step failed, trying again", pipeline=name, error=error)
                pause = backoff.next()
            await self._wait(pause)
        while self._launching or any(pod.active for pod in self.pods.values()):
            self._changed.clear()
            for stop in self._launching.values():
                stop.set()
            self._remove(pod for pod in self.pods.values() if pod.active)
            await means.clock.sleep(_SPACING)
            await self._wait(_LONGEST_SLEEP)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _reread(self) -> None:
        """After a conflict the record is another than the watch has told of."""
        try:
            await self._means.runs.read(self.run.name)  # whoever subscribed, this drive too, is told
        except (KubeError, NoRun):
            return

    async def _step(self) -> float:
        """One step; the seconds until the next unless something changes. Raises `KubeError`."""
        means = self._means
        self._changed.clear()
        if not means.leading():
            return 1.0  # on what was known before a pause nobody may act; the Lease is about to be lost
        if self.run.state.over:
            return await self._finish()
        await self._look_for_missing()
        run, now = self.run, means.clock.time()
        ends = ends_at(run.notes, since=means.since)
        seen = Seen(self.pods, self._refused, self._gone)
        spacing = _SPACING
        state = advance(run.spec, run.state, seen, now=now, cancelled=ends is not None and ends <= now)
        if state != run.state:
            state = self.tally.add_to(state)
            await means.runs.write(run, state)
            self.tally.clear()
            self._observe(run, state)
            self._forget()
            spacing = max(_SPACING, run.size / _BYTES_PER_SECOND)
        if state.over:
            return await self._finish()
        self._create(state)
        self._remove(unwanted(state, self.pods))
        # Not before: pods are created at once, what they do is written down at leisure.
        await means.clock.sleep(spacing)
        at = wake_at(run.spec, state, self.pods, now=now)
        times = [each for each in (at, ends) if each is not None]
        return max(0.0, min([_LONGEST_SLEEP, *(each - means.clock.time() for each in times)]))

    async def _look_for_missing(self) -> None:
        """A pod that the watch shows no more may exist: a list is older than what was created since."""
        state, asking = self.run.state, asyncio.Semaphore(_ASKED_AT_ONCE)
        lost = [
            slot
            for slot in missing(self.run.spec, state, self.pods, self._made)
            if slot not in self._launching and slot not in self._gone and slot not in self._refused
        ]

        async def look(slot: Slot) -> None:
            async with asking:
                found = await self._ask(slot)
            if found is None:
                self._gone.add(slot)
            else:
                self.pods.setdefault(slot, found)

        if lost:
            results = await asyncio.gather(*map(look, lost), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    async def _ask(self, slot: Slot) -> Worker | None:
        """The pod of the slot, from the API server; None when there is none. Raises `KubeError`."""
        path = pods_path(self._means.namespace, pod_name(self.run, slot))
        try:
            worker = read_worker(await self._means.kube.get(path))
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        mine = worker.stage is not None and worker.stage.run == self.run.uid and slot_of(worker) == slot
        return worker if mine else None

    async def _finish(self) -> float:
        means = self._means
        self._remove(unwanted(self.run.state, self.pods))
        if self.run.state.outcome == "CANCELLED":
            self._release(pod for pod in self.pods.values() if pod.ended and not pod.released)
        left = self.run.state.ended_at + means.keep - means.clock.time()
        if left <= 0 and not self._launching and not any(pod.active for pod in self.pods.values()):
            await means.runs.remove(self.run)
            return _LONGEST_SLEEP
        for stop in self._launching.values():
            stop.set()
        return max(1.0, min(_LONGEST_SLEEP, left))

    def _create(self, state: RunState) -> None:
        needed = set(wanted(self.run.spec, state, self.pods))
        for slot, stop in self._launching.items():
            if slot not in needed and slot not in self._made:
                stop.set()
        fresh = sorted(
            slot
            for slot in needed
            if slot not in self._launching and slot not in self._refused and slot not in self._made
        )
        by_stage: dict[str, list[Slot]] = {}
        for slot in fresh:
            by_stage.setdefault(slot.stage, []).append(slot)
        for slots in by_stage.values():
            stop = asyncio.Event()
            self._launching |= dict.fromkeys(slots, stop)
            self._means.tasks.start(self._launch(slots, stop))

    async def _launch(self, slots: list[Slot], stop: asyncio.Event) -> None:
        means, at = self._means, self._means.clock.time()
        specs = {slot: worker_spec(self.run, slot, at=at) for slot in slots}
        slot_by_name = {spec.name: slot for slot, spec in specs.items()}
        patience = Patience(
            attempts=2,
            superseded=stop,
            confirm=self._confirm,
            confirmed=self._means.leading,
            seen=lambda name: slot_by_name[name] in self._made,
        )
        try:
            launch = await means.launcher.launch(list(specs.values()), patience)
        except OrderLost:
            return  # the Lease is lost; the next leader goes on
        else:
            made = frozenset(launch.names)
            self._made |= {slot for slot, spec in specs.items() if spec.name in made}
            self._refused |= {
                slot: launch.refused[spec.name] for slot, spec in specs.items() if spec.name in launch.refused
            }
        finally:
            for slot in slots:
                self._launching.pop(slot, None)
            self._changed.set()

    async def _confirm(self) -> None:
        """A leader that was stopped for a while must not act on what it knew before."""
        if not self._means.leading():
            raise OrderLost

    def _remove(self, pods: Iterable[Worker]) -> None:
        for pod in tuple(pods):
            if pod.uid not in self._removing:
                self._removing.add(pod.uid)
                self._means.tasks.start(self._settle(pod, self._delete))

    def _release(self, pods: Iterable[Worker]) -> None:
        """Failed workers of a cancelled run are not kept for people to look at."""
        for pod in tuple(pods):
            if pod.uid not in self._removing:
                self._removing.add(pod.uid)
                self._means.tasks.start(self._settle(pod, self._annotate))

    async def _delete(self, path: str, pod: Worker) -> None:
        await self._means.kube.delete(path, {"preconditions": {"uid": pod.uid}})

    async def _annotate(self, path: str, pod: Worker) -> None:
        note = {"metadata": {"uid": pod.uid, "annotations": {notes.RELEASED: "true"}}}
        await self._means.kube.patch(path, note)

    async def _settle(self, pod: Worker, act: Settling) -> None:
        try:
            await act(pods_path(self._means.namespace, pod.name), pod)
        except KubeError as error:
            if error.status in {404, 409}:
                return
            log.warning("a worker of a pipeline cannot be removed", worker=pod.name, error=error)
            await self._means.clock.sleep(1.0)
            self._removing.discard(pod.uid)
            self._changed.set()

    def _forget(self) -> None:
        """What was kept until the record knew it."""
        for slot in [slot for slot in self._vanished if accounted(self.run.state, slot)]:
            self._vanished.discard(slot)
            self.pods.pop(slot, None)

    def _observe(self, run: Run, after: RunState) -> None:
        before, telemetry = run.state, self._means.telemetry
        for stage in run.spec.stages:
            old, new = before.stages[stage.id], after.stages[stage.id]
            if new.ended_at and not old.ended_at and new.started_at:
                telemetry.stages.labels(new.status.lower()).observe(new.ended_at - new.started_at)
        if after.over and not before.over:
            telemetry.pipelines.labels(after.outcome.lower()).observe(after.ended_at - after.started_at)
            log.info("pipeline ended", pipeline=run.spec.id[:80], outcome=after.outcome.lower())
