"""Pipelines in a simulated cluster and in virtual time, and what must be true of them at every moment.

The witness sees pods and records by watches of its own and keeps what really happened, so that what the
engine and a follower claim is held against that, not against what they believe.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ottoscaler.orchestrator.handler.buffer import Budget
from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.launch import Launcher
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.naming import run_name
from ottoscaler.orchestrator.pipelines.engine import Engine
from ottoscaler.orchestrator.pipelines.model import RunSpec, RunState
from ottoscaler.orchestrator.pipelines.record import Run, read_record
from ottoscaler.orchestrator.pipelines.runs import Runs
from ottoscaler.orchestrator.pipelines.slots import slot_of
from ottoscaler.orchestrator.pipelines.state import Slot
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.progress import chapters
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import PodDefaults
from ottoscaler.orchestrator.tending.caretaker import Rules
from ottoscaler.orchestrator.tending.quota import Limits, Quota
from ottoscaler.orchestrator.tending.settled import Ledger
from ottoscaler.orchestrator.tending.tender import Parts, Tender
from ottoscaler.orchestrator.worker import read_worker
from tests.orchestrator.dying import Faults, FaultyKube, until_dead
from tests.virtual import VirtualClock

NAMESPACE = "n"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
RECORDS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
KEEP = 60.0
RETAIN = 20.0


class Witness:
    """Everything that happened, and what of it must not."""

    def __init__(self, cluster: MockCluster) -> None:
        self._cluster = cluster
        self.born: Counter[Slot] = Counter()
        self.ended: dict[Slot, str] = {}
        """The phase in which each pod ended."""
        self.alive: set[Slot] = set()
        """Pods that exist and have not ended."""
        self.states: list[RunState] = []
        self.spec: RunSpec | None = None
        self.wrong: list[str] = []

    def pods(self) -> list[str]:
        """Names of the pods that exist."""
        return [each["metadata"]["name"] for each in self._cluster.objects.items(PODS)]

    def records(self) -> list[Run]:
        """Runs that are recorded now."""
        found = self._cluster.objects.items(RECORDS)
        return [run for each in found if "run" in each.get("data", {}) and (run := read_record(each))]

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_pods())
            group.create_task(self._watch_records())

    async def _watch_pods(self) -> None:
        async for event in self._cluster.watch(PODS):
            if event.type == "SYNC":
                continue
            worker = read_worker(event.object)
            slot = slot_of(worker)
            if slot is None:
                continue
            if event.type == "ADDED":
                self._born(slot)
            if worker.ended or event.type == "DELETED":
                self.alive.discard(slot)
            if worker.ended:
                self.ended.setdefault(slot, worker.phase)

    def _born(self, slot: Slot) -> None:
        self.born[slot] += 1
        if self.born[slot] > 1:
            self.wrong.append(f"{slot} was created twice")
        others = {each for each in self.alive if each.stage == slot.stage and each.attempt != slot.attempt}
        if others:
            self.wrong.append(f"{slot} was created while {others} ran")
        self.alive.add(slot)
        stage = next(each for each in self._spec.stages if each.id == slot.stage)
        if slot.attempt > stage.retry.attempts:
            self.wrong.append(f"{slot} was created, {stage.retry.attempts} attempts are allowed")
        for before in stage.depends_on:
            if self.well(before) < next(each.count for each in self._spec.stages if each.id == before):
                self.wrong.append(f"{slot} was created before {before} was complete")

    @property
    def _spec(self) -> RunSpec:
        assert self.spec is not None
        return self.spec

    def well(self, stage: str) -> int:
        """Workers of a stage that have ended well."""
        return len(
            {
                slot.number
                for slot, phase in self.ended.items()
                if slot.stage == stage and phase == "Succeeded"
            }
        )

    async def _watch_records(self) -> None:
        async for event in self._cluster.watch(RECORDS):
            if event.type in {"SYNC", "DELETED"} or "run" not in event.object.get("data", {}):
                continue
            run = read_record(event.object)
            if run is None:
                self.wrong.append("a record cannot be read")
                continue
            self.spec = run.spec
            if not self.states or run.state != self.states[-1]:
                self._changed(self.states[-1] if self.states else None, run.state)

    def _changed(self, before: RunState | None, after: RunState) -> None:
        self.states.append(after)
        for key, stage in after.stages.items():
            if stage.succeeded > self.well(key):
                self.wrong.append(
                    f"{key}: {stage.succeeded} ended well, says the record: {self.well(key)} did"
                )
            if before is None:
                continue
            was = before.stages[key]
            told, known = chapters(was), chapters(stage)
            if known[: len(told)] != told:
                self.wrong.append(f"{key}: the story {told} became {known}")
            if stage.succeeded < was.succeeded:
                self.wrong.append(f"{key}: went back from {was.succeeded} to {stage.succeeded}")


@asynccontextmanager
async def world() -> AsyncIterator[tuple[MockCluster, Witness]]:
    """A cluster in which pods take their time, and a witness."""
    clock = VirtualClock()
    async with MockCluster(clock=clock, start_seconds=0.2, stop_seconds=0.5) as cluster:
        witness = Witness(cluster)
        watching = asyncio.create_task(witness.run())
        await asyncio.sleep(0)
        try:
            yield cluster, witness
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def lead(kube: Kube, faults: Faults | None = None, *, limits: Limits | None = None) -> None:
    """One life of a leader: returns when it has died, else goes on until cancelled."""
    faults, limits = faults or Faults(), limits or Limits()
    faulty, clock, telemetry = FaultyKube(kube, faults), VirtualClock(), Telemetry()
    index, runs = WorkerIndex(faulty, NAMESPACE), Runs(faulty, NAMESPACE)
    defaults = PodDefaults(image="busybox", limits={}, requests={}, active_deadline=10_000, gated=limits.any)
    engine = Engine(
        kube=faulty,
        runs=runs,
        index=index,
        launcher=Launcher(kube=faulty, index=index, defaults=defaults, telemetry=telemetry, clock=clock),
        keep=KEEP,
        leading=lambda: not faults.dead.is_set(),
        telemetry=telemetry,
        clock=clock,
    )
    tender = Tender(
        Parts(
            kube=faulty,
            index=index,
            link=None,
            settled=Ledger(events=False, others=(engine.wait,), clock=clock),
            rules=Rules(retain=RETAIN, handover=0.0, follow_logs=False),
            budget=Budget(10**9),
            streams=asyncio.Semaphore(10),
            telemetry=telemetry,
            clock=clock,
        )
    )
    works = [index.run(), runs.run(), engine.run(), tender.run()]
    if limits.any:
        works.append(Quota(kube=faulty, index=index, limits=limits, telemetry=telemetry, clock=clock).run())
    await until_dead(works, faults)


class Listener:
    """The context of a call whose client reads every `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.messages: list[pb.PipelineProgress] = []
        self._seconds = seconds

    async def write(self, progress: pb.PipelineProgress) -> None:
        await asyncio.sleep(self._seconds)
        self.messages.append(progress)

    def of(self, stage: str) -> list[str]:
        """The statuses of a stage, each change once."""
        names = [pb.StageStatus.Name(each.status) for each in self.messages if each.stage_id == stage]
        return [name for number, name in enumerate(names) if not number or names[number - 1] != name]

    def percentages(self) -> dict[str, list[int]]:
        """By stage, as they were told."""
        told: defaultdict[str, list[int]] = defaultdict(list)
        for each in self.messages:
            told[each.stage_id].append(each.progress_percentage)
        return told


def record_of(pipeline_id: str) -> str:
    return f"{RECORDS}/{run_name(pipeline_id)}"
