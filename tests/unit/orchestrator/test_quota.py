"""Who may start next: never too many, first come first served within a task, fair between tasks."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Params, pods_path
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.naming import MANAGED_BY
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.tending.quota import Limits, Quota, admit
from ottoscaler.orchestrator.worker import QUOTA_GATE, Worker
from ottoscaler.runtime.kube import PatchKind
from tests.unit.orchestrator.making import worker
from tests.virtual import VirtualClock


@st.composite
def populations(draw: st.DrawFn) -> list[Worker]:
    """Workers of a few tasks: some wait, some run, some have ended."""
    workers = []
    for number in range(draw(st.integers(0, 40))):
        kind = draw(st.sampled_from(["waiting", "waiting", "running", "ended", "removing"]))
        workers.append(
            worker(
                f"w-{number}",
                task_id=draw(st.sampled_from("abc")),
                index=number,
                requested_at=float(draw(st.integers(0, 10))),
                gated=kind == "waiting",
                phase={"waiting": "Pending", "ended": "Succeeded"}.get(kind, "Running"),
                deleting_at=1.0 if kind == "removing" else None,
            )
        )
    return workers


limits = st.builds(
    Limits,
    per_task=st.none() | st.integers(1, 8),
    total=st.none() | st.integers(1, 15),
)


def running(workers: list[Worker]) -> Counter[str]:
    return Counter(each.task_id for each in workers if each.active and not each.gated)


@given(populations(), limits)
def test_no_limit_is_exceeded_and_no_room_is_wasted(workers: list[Worker], limit: Limits) -> None:
    admitted = admit(workers, limit)
    assert all(each.gated and each.active for each in admitted)
    assert len({each.name for each in admitted}) == len(admitted)
    before, added = running(workers), Counter(each.task_id for each in admitted)
    after = before + added
    for task in added:
        assert limit.per_task is None or after[task] <= limit.per_task
    assert not admitted or limit.total is None or after.total() <= limit.total
    left = Counter(each.task_id for each in workers if each.gated and each.active) - added
    for task in left:
        full = limit.total is not None and after.total() >= limit.total
        assert full or (limit.per_task is not None and after[task] >= limit.per_task)


@given(populations(), limits)
def test_within_a_task_the_first_to_ask_is_the_first_to_start(workers: list[Worker], limit: Limits) -> None:
    admitted = admit(workers, limit)
    for task in "abc":
        waiting = [each for each in workers if each.gated and each.active and each.task_id == task]
        waiting.sort(key=lambda each: (each.requested_at, each.index))
        started = [each for each in admitted if each.task_id == task]
        assert started == waiting[: len(started)]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(1, 40))
def test_tasks_that_all_want_more_get_the_same(sizes: list[int], total: int) -> None:
    workers = [
        worker(f"{task}-{number}", task_id=str(task), index=number, gated=True)
        for task, size in enumerate(sizes)
        for number in range(size)
    ]
    admitted = Counter(each.task_id for each in admit(workers, Limits(total=total)))
    wanting = [admitted[str(task)] for task, size in enumerate(sizes) if admitted[str(task)] < size]
    if wanting:
        assert max(admitted.values()) - min(wanting) <= 1


def test_without_limits_everybody_starts() -> None:
    workers = [worker(f"w-{number}", gated=True) for number in range(5)]
    assert len(admit(workers, Limits())) == 5


class Hanging(MockCluster):
    """An API server that does not answer to patches while it hangs."""

    def __init__(self) -> None:
        super().__init__(clock=VirtualClock())
        self.hangs = True

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().patch(path, body, kind=kind, params=params)


@pytest.mark.looptime
async def test_a_gate_at_which_a_term_was_cut_off_is_lifted_by_the_next() -> None:
    async with Hanging() as kube:
        index = WorkerIndex(kube, "n")
        quota = Quota(
            kube=kube, index=index, limits=Limits(total=1), telemetry=Telemetry(), clock=VirtualClock()
        )
        watching = asyncio.create_task(index.run())
        spec = {"containers": [{"name": "worker"}], "schedulingGates": [{"name": QUOTA_GATE}]}
        await kube.create(pods_path("n"), {"metadata": {"name": "w-1", "labels": MANAGED_BY}, "spec": spec})
        await asyncio.sleep(1)
        term = asyncio.create_task(quota.run())
        await asyncio.sleep(10)
        term.cancel()
        kube.hangs = False
        term = asyncio.create_task(quota.run())
        await asyncio.sleep(1)
        known = index.get("w-1")
        assert known is not None
        assert not known.gated
        for task in (term, watching):
            task.cancel()
        await asyncio.gather(term, watching, return_exceptions=True)
