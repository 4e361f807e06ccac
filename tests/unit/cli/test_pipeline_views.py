"""How a run is shown: what is drawn is what was told."""

import io
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ottoscaler.cli.pipeline_view import Lines, TreeView, placed, tree, view
from ottoscaler.cli.reporting import Output
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb


def stage(name: str, *after: str, workers: int = 1) -> pb.PipelineStage:
    return pb.PipelineStage(stage_id=name, worker_count=workers, depends_on=after)


def told(name: str, status: str, message: str = "", **more: Any) -> pb.PipelineProgress:
    values: dict[str, Any] = {"timestamp": "2026-11-21T10:00:05Z", "started_at": "2026-11-21T10:00:00Z"}
    return pb.PipelineProgress(
        stage_id=name,
        status=f"STAGE_{status}",
        message=message or f"{name}: {status.lower()}",
        **(values | more),
    )


REQUEST = pb.PipelineRequest(
    pipeline_id="p-1",
    stages=[
        stage("build"),
        stage("unit", "build", workers=3),
        stage("lint", "build"),
        stage("deploy", "unit", "lint"),
    ],
)


def drawn(progress: Mapping[str, pb.PipelineProgress], *, note: str = "") -> list[str]:
    """The picture five seconds into the run."""
    file = io.StringIO()
    console = Console(file=file, width=120, color_system=None)
    now = 1795255205.0  # 2026-11-21T10:00:05Z
    console.print(tree(REQUEST, progress, now=now, note=note))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_run_that_nobody_has_told_of_is_all_pending() -> None:
    assert drawn({}, note="localhost:9090 is away") == [
        "pipeline p-1  asking the orchestrator",
        "├── · build  pending, 1 worker",
        "│   ├── · unit  pending, 3 workers",
        "│   │   └── · deploy (and after lint)  pending, 1 worker",
        "│   └── · lint  pending, 1 worker",
        "└── localhost:9090 is away",
    ]


def test_a_run_in_the_middle() -> None:
    done: dict[str, Any] = {"completed_at": "2026-11-21T10:00:02.500Z", "progress_percentage": 100}
    lint = "1 of 1 workers failed: exited with code 4"
    assert drawn(
        {
            "": told("", "RUNNING", progress_percentage=40),
            "build": told("build", "COMPLETED", **done),
            "unit": told(
                "unit", "RUNNING", "unit: 1 of 3 workers done, attempt 2 of 3", progress_percentage=33
            ),
            "lint": told("lint", "FAILED", **done | {"error_message": lint}),
            "deploy": told("deploy", "SKIPPED", started_at="", error_message="stage lint did not complete"),
        }
    ) == [
        "pipeline p-1  running 40%  5s  1 of 4 stages",
        "└── ✔ build  completed  2.5s",
        "    ├── ● unit  running 33%  5s  1 of 3 workers done, attempt 2 of 3",
        "    │   └── – deploy (and after lint)  skipped  stage lint did not complete",
        "    └── ✘ lint  failed  2.5s  1 of 1 workers failed: exited with code 4",
    ]


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=30))
def test_every_stage_is_drawn_once_after_those_it_waits_for(graph: list[list[int]]) -> None:
    stages = [stage(str(n), *(str(each) for each in after if each < n)) for n, after in enumerate(graph)]
    seen = {""}
    for each, parent in placed(stages):
        assert parent in seen
        assert set(each.depends_on) <= seen
        assert parent in each.depends_on or not each.depends_on
        seen.add(each.stage_id)
    assert len(seen) == len(stages) + 1


def test_lines_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with view(REQUEST, Output.TEXT, Console(file=file)) as lines:
        assert isinstance(lines, Lines)
        lines.update(told("", "RUNNING", "pipeline p-1 with 4 stages"))
        for _ in range(2):  # a call that is made again tells all again
            lines.update(told("unit", "RETRYING", "unit: attempt 1 of 3 failed", error_message="[bold] x"))
        lines.note("localhost:9090 is away; asking again")
    assert file.getvalue().splitlines() == [
        "10:00:05 pipeline running 0%: pipeline p-1 with 4 stages",
        "10:00:05 unit retrying 0%: unit: attempt 1 of 3 failed ([bold] x)",
        "localhost:9090 is away; asking again",
    ]


def test_a_terminal_is_shown_the_end_and_left_as_it_was() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, color_system=None)
    with view(REQUEST, Output.TEXT, console) as shown:
        assert isinstance(shown, TreeView)
        shown.update(told("", "COMPLETED", completed_at="2026-11-21T10:00:09Z"))
    assert "pipeline p-1  completed  9s" in file.getvalue()
    assert file.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
