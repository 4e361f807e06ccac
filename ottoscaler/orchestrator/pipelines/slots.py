"""From a slot of a run to its pod and back."""

from ottoscaler.orchestrator.naming import pipeline_pod
from ottoscaler.orchestrator.orders import Facts, Origin
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.state import Slot
from ottoscaler.orchestrator.template import WorkerSpec
from ottoscaler.orchestrator.worker import StageWorker, Worker


def slot_of(worker: Worker) -> Slot | None:
    """Which worker of which stage and attempt a pod is; None when it belongs to no run."""
    if worker.stage is None:
        return None
    return Slot(worker.stage.stage_id, worker.stage.attempt, worker.index)


def pod_name(run: Run, slot: Slot) -> str:
    """The same for the same slot of the same run, always."""
    return pipeline_pod(run.spec.id, slot.stage, run.uid, slot.attempt, slot.number)


def worker_spec(run: Run, slot: Slot, *, at: float) -> WorkerSpec:
    """The worker to be created in `slot`; `at` is now, seconds since the epoch."""
    spec = run.spec
    stage = next(each for each in spec.stages if each.id == slot.stage)
    facts = Facts(
        repository=spec.repository,
        commit_sha=spec.commit_sha,
        triggered_by=spec.triggered_by,
        config=stage.config,
        metadata=spec.metadata,
    )
    return WorkerSpec(
        name=pod_name(run, slot),
        task_id=spec.id,
        index=slot.number,
        count=stage.count,
        origin=Origin(key=run.uid, at=at),
        facts=facts,
        image=stage.image,
        command=stage.command,
        args=stage.args,
        stage=StageWorker(run=run.uid, pipeline_id=spec.id, stage_id=slot.stage, attempt=slot.attempt),
        stage_type=stage.type,
    )
