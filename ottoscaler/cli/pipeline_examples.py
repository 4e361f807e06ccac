"""The pipelines of `ottoscaler pipeline run --type`: they show that an installation works.

Stages run the worker image's own command, which learns from its variables what it is to do.
"""

from enum import StrEnum

from ottoscaler.cli.pipeline_file import Pipeline, Retry, Stage


class Example(StrEnum):
    """What `--type` takes."""

    SIMPLE = "simple"
    FULL = "full"
    PARALLEL = "parallel"


EXAMPLES = {
    Example.SIMPLE: Pipeline(
        name="build, test and deploy in sequence",
        stages=(
            Stage(id="build", type="build"),
            Stage(id="test", type="test", depends_on=("build",)),
            Stage(id="deploy", type="deploy", depends_on=("test",)),
        ),
    ),
    Example.FULL: Pipeline(
        name="tests side by side between build and deploy",
        stages=(
            Stage(id="build", type="build", retry=Retry(attempts=2)),
            Stage(id="unit-tests", type="test", workers=3, depends_on=("build",)),
            Stage(
                id="integration-tests", type="test", workers=2, depends_on=("build",), retry=Retry(attempts=3)
            ),
            Stage(id="lint", type="lint", depends_on=("build",)),
            Stage(id="deploy", type="deploy", depends_on=("unit-tests", "integration-tests", "lint")),
        ),
    ),
    Example.PARALLEL: Pipeline(
        name="three stages at once, then their report",
        stages=(
            Stage(id="linux", type="test", workers=2),
            Stage(id="windows", type="test", workers=2),
            Stage(id="macos", type="test", workers=2),
            Stage(id="report", type="report", depends_on=("linux", "windows", "macos")),
        ),
    ),
}
