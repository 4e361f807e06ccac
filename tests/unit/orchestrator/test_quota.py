"""Who may start next: never too many, first come first served within a task, fair between tasks."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.tending.quota import Limits, admit
from ottoscaler.orchestrator.worker import Worker
from tests.unit.orchestrator.making import worker


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
