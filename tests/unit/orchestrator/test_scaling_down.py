"""Which workers go when fewer are wanted."""

from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.scaling import choose
from ottoscaler.orchestrator.worker import Worker
from tests.unit.orchestrator.making import worker

GATED = worker("gated", gated=True, requested_at=3.0)
PENDING = worker("pending", requested_at=1.0)
OLD = worker("old", phase="Running", requested_at=1.0)
YOUNG = worker("young", phase="Running", requested_at=2.0)
FAILED = worker("failed", phase="Failed")
GOING = worker("going", phase="Running", deleting_at=1.0)
ALL = [OLD, GOING, FAILED, PENDING, YOUNG, GATED]


def test_waiting_ones_go_first_then_the_youngest() -> None:
    assert choose(ALL, 3) == [GATED]
    assert choose(ALL, 2) == [GATED, PENDING]
    assert choose(ALL, 1) == [GATED, PENDING, YOUNG]


def test_none_left_means_those_kept_for_people_too() -> None:
    assert choose(ALL, 0) == [GATED, PENDING, YOUNG, OLD, FAILED]


@given(
    st.lists(
        st.builds(
            worker,
            name=st.uuids().map(str),
            phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
            gated=st.booleans(),
            requested_at=st.floats(0, 10),
            deleting_at=st.none() | st.just(1.0),
        ),
        max_size=20,
    ),
    st.integers(0, 10),
)
def test_at_most_so_many_remain_and_no_more_go_than_must(workers: list[Worker], keep: int) -> None:
    active = [each for each in workers if each.active]
    going = [each for each in choose(workers, keep) if each.active]
    assert len(active) - len(going) == min(len(active), keep)
