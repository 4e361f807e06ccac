"""The test runner counts what the suites say, and the test images say what the Dockerfile says."""

import pytest

from tests.__main__ import count
from tests.cluster.images import ROOT, DockerfileError, last_stage


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


def test_the_image_is_what_the_dockerfile_says() -> None:
    stage = last_stage((ROOT / "Dockerfile").read_text())
    assert (stage.user, stage.group) == (65532, 65532)
    assert stage.entrypoint == ["ottoscaler"]
    assert stage.env["PATH"].startswith("/opt/ottoscaler/bin:")


def test_only_the_last_stage_counts() -> None:
    stage = last_stage(
        "FROM a AS b\nUSER 1\nENV X=1\nFROM c\n# a comment\nENV A=1 \\\n    B='x y'\nCMD [\"d\"]"
    )
    assert (stage.user, stage.env, stage.cmd) == (0, {"A": "1", "B": "x y"}, ["d"])


def test_what_cannot_be_imitated_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="HEALTHCHECK"):
        last_stage("FROM a\nHEALTHCHECK CMD true")
