"""The test runner counts what the suites say, and lets nobody have a cluster that another has."""

import pytest

from tests.__main__ import count, suites


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("12 passed in 0.53s", (12, 0, 0)),
        ("1 failed, 10 passed, 2 skipped in 70.91s (0:01:10)", (10, 1, 2)),
        ("2 failed, 17 passed, 1 error in 3s", (17, 3, 0)),
        ("3 errors in 0.1s", (0, 3, 0)),
        ("no tests ran in 0.01s", (0, 0, 0)),
    ],
)
def test_a_closing_line_is_counted(line: str, numbers: tuple[int, int, int]) -> None:
    assert count(f"5 passed, by the way\n{line}\n" if "ran" not in line else f"{line}\n") == numbers


def test_in_clusters_of_their_own_the_suites_run_side_by_side() -> None:
    found = {suite.name: suite for suite in suites(foreign_cluster=False)}
    assert found["windows"].needs == found["cluster"].needs == ("build",)
    assert "windows" not in found["cluster"].after


def test_in_one_cluster_of_somebody_else_they_run_one_after_the_other() -> None:
    found = {suite.name: suite for suite in suites(foreign_cluster=True)}
    assert "build" not in found, "no control plane is made"
    assert "windows" in found["cluster"].after
    assert not {name for suite in found.values() for name in (*suite.needs, *suite.after)} - found.keys()
