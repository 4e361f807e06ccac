"""Whatever a watch shows of a worker, its story is told in order and has one end."""

from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.lifecycle import Stage, Track, Transition, advance, vanish
from ottoscaler.orchestrator.worker import Worker
from tests.unit.orchestrator.making import worker

VERSIONS = st.sampled_from(
    [
        worker(),
        worker(gated=True),
        worker(phase="Running", started_at=101.0),
        worker(phase="Running", started_at=101.0, deleting_at=105.0),
        worker(phase="Succeeded", started_at=101.0, finished_at=110.0),
        worker(phase="Succeeded", started_at=101.0, finished_at=110.0, deleting_at=105.0),
        worker(phase="Failed", started_at=101.0, finished_at=110.0, exit_code=3, reason="Error"),
        worker(phase="Failed", finished_at=104.0, reason="Evicted"),
        worker(deleting_at=102.0),
    ]
)


def tell(versions: list[Worker], *, gone: bool = True) -> list[Transition]:
    track, told = Track(), []
    for version in versions:
        track, news = advance(track, version)
        told += news
    if gone:
        track, news = vanish(track, at=120.0)
        told += news
    return told


@given(st.lists(VERSIONS, min_size=1, max_size=12))
def test_created_comes_first_running_at_most_once_and_one_end_last(versions: list[Worker]) -> None:
    stages = [each.stage for each in tell(versions)]
    assert stages[0] is Stage.CREATED
    assert stages.count(Stage.CREATED) == 1
    assert stages.count(Stage.RUNNING) <= 1
    assert [stage.final for stage in stages] == [False] * (len(stages) - 1) + [True]


@given(st.lists(VERSIONS, min_size=1, max_size=6))
def test_versions_that_come_twice_tell_nothing_new(versions: list[Worker]) -> None:
    doubled = [version for version in versions for _ in range(2)]
    assert tell(doubled) == tell(versions)


@given(st.lists(VERSIONS, min_size=1, max_size=6), st.lists(VERSIONS, min_size=1, max_size=6))
def test_a_successor_that_knows_what_was_told_goes_on(before: list[Worker], after: list[Worker]) -> None:
    first = tell(before, gone=False)
    track = Track(told=first[-1].stage)
    told = list(first)
    for version in [*before[-1:], *after]:
        track, news = advance(track, version)
        told += news
    track, news = vanish(track, at=120.0)
    told += news
    assert [each.stage for each in told] == [each.stage for each in tell([*before, *after])]


def test_an_end_that_the_watch_skipped_to_is_told_whole() -> None:
    told = tell([worker(phase="Succeeded", started_at=101.0, finished_at=110.0)])
    assert [each.stage for each in told] == [Stage.CREATED, Stage.RUNNING, Stage.COMPLETED]
    assert [each.at for each in told] == [100.0, 101.0, 110.0]


def test_a_worker_that_ended_before_its_removal_was_asked_for_is_not_terminated() -> None:
    told = tell([worker(phase="Succeeded", started_at=101.0, finished_at=104.0, deleting_at=105.0)])
    assert told[-1].stage is Stage.COMPLETED


def test_a_worker_that_ended_because_of_its_removal_was_terminated() -> None:
    told = tell(
        [worker(phase="Failed", started_at=101.0, finished_at=106.0, deleting_at=105.0, exit_code=143)]
    )
    assert told[-1].stage is Stage.TERMINATED


def test_a_failure_says_why() -> None:
    told = tell([worker(phase="Failed", started_at=101.0, finished_at=106.0, exit_code=3, reason="Error")])
    assert told[-1].reason == "exited with code 3"
