"""How a run of a pipeline is shown: a tree on a terminal, lines elsewhere, JSON objects for programs.

What is drawn is what the orchestrator said last of each stage; nothing is guessed in between but the
time that a running stage has taken so far.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from ottoscaler.cli.reporting import Output
from ottoscaler.cli.workers import print_line
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.times import parse_time
from ottoscaler.runtime.values import format_duration

_LOOKS: Mapping[str, tuple[str, str]] = {
    "pending": ("·", "dim"),
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "completed": ("✔", "green"),
    "failed": ("✘", "bold red"),
    "cancelled": ("■", "yellow"),
    "skipped": ("–", "dim"),
}


class View(Protocol):
    """Something that shows a run while it is entered."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *exception: object) -> None: ...

    def update(self, progress: pb.PipelineProgress) -> None:
        """Shows one message."""
        ...

    def note(self, text: str) -> None:
        """Says something about the call itself."""
        ...


def view(request: pb.PipelineRequest, output: Output, console: Console) -> View:
    """The view for where the output goes."""
    if output is Output.JSON:
        return JsonLines()
    return TreeView(request, console) if console.is_terminal else Lines(console)


def word(progress: pb.PipelineProgress) -> str:
    """`running`, of the status STAGE_RUNNING."""
    return pb.StageStatus.Name(progress.status).removeprefix("STAGE_").lower()


class JsonLines:
    """One object a line."""

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, progress: pb.PipelineProgress) -> None:
        print_line(progress)

    def note(self, text: str) -> None:
        """Programs read messages only."""


class Lines:
    """One line for each thing that changed; what is told again after a broken connection is not."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, str] = {}

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, progress: pb.PipelineProgress) -> None:
        line = self._line(progress)
        if self._told.get(progress.stage_id) != line:
            self._told[progress.stage_id] = line
            self._print(f"{_clock(progress.timestamp)} {line}")

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._console.file.flush()

    @staticmethod
    def _line(progress: pb.PipelineProgress) -> str:
        error = progress.error_message
        words = progress.message + (f" ({error})" if error and error not in progress.message else "")
        return f"{progress.stage_id or 'pipeline'} {word(progress)} {progress.progress_percentage}%: {words}"


class TreeView:
    """The stages as a tree, each beneath the stage that it waits for; drawn anew as they change."""

    def __init__(self, request: pb.PipelineRequest, console: Console) -> None:
        self._request = request
        self._told: dict[str, pb.PipelineProgress] = {}
        self._note = ""
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4)

    def __enter__(self) -> "TreeView":
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def update(self, progress: pb.PipelineProgress) -> None:
        self._note = ""
        self._told[progress.stage_id] = progress
        self._live.refresh()

    def note(self, text: str) -> None:
        self._note = text
        self._live.refresh()

    def _draw(self) -> Tree:
        now = datetime.now(UTC).timestamp()
        told = dict(self._told)
        return tree(self._request, told, now=now, note=self._note)


def tree(
    request: pb.PipelineRequest, told: Mapping[str, pb.PipelineProgress], *, now: float, note: str = ""
) -> Tree:
    """The picture of what was told of each stage; of the pipeline under the empty id."""
    root = Tree(_head(request, told.get(""), told, now))
    branches: dict[str, Tree] = {}
    for stage, parent in placed(request.stages):
        branch = branches.get(parent, root)
        branches[stage.stage_id] = branch.add(_label(stage, parent, told.get(stage.stage_id), now))
    if note:
        root.add(Text(note, style="yellow"))
    return root


def placed(stages: Sequence[pb.PipelineStage]) -> list[tuple[pb.PipelineStage, str]]:
    """Each stage after the one beneath which it is drawn: of those it waits for, the one furthest down.

    A stage that waits for nothing is at the root, whose name is empty. What depends on nothing known
    (the orchestrator will refuse it) is left out.
    """
    depth: dict[str, int] = {"": 0}
    order: list[tuple[pb.PipelineStage, str]] = []
    waiting = list(stages)
    while ready := [each for each in waiting if all(name in depth for name in each.depends_on)]:
        for stage in ready:
            parent = max(stage.depends_on, key=lambda name: depth[name], default="")
            order.append((stage, parent))
        depth |= {stage.stage_id: depth[parent] + 1 for stage, parent in order}
        waiting = [each for each in waiting if each not in ready]
    return order


def _head(
    request: pb.PipelineRequest,
    whole: pb.PipelineProgress | None,
    told: Mapping[str, pb.PipelineProgress],
    now: float,
) -> Text:
    text = Text.assemble((f"pipeline {request.pipeline_id}", "bold"))
    if whole is None:
        return text.append("  asking the orchestrator", "dim")
    _append_state(text, whole, now)
    done = sum(
        told[each.stage_id].status == pb.STAGE_COMPLETED for each in request.stages if each.stage_id in told
    )
    return text.append(f"  {done} of {len(request.stages)} stages")


def _label(stage: pb.PipelineStage, parent: str, progress: pb.PipelineProgress | None, now: float) -> Text:
    state = "pending" if progress is None else word(progress)
    mark, style = _LOOKS[state]
    text = Text.assemble((f"{mark} ", style), (stage.stage_id, "bold"))
    others = [name for name in stage.depends_on if name != parent]
    if others:
        text.append(f" (and after {', '.join(others)})", "dim")
    if progress is None:
        noun = "worker" if stage.worker_count == 1 else "workers"
        return text.append(f"  pending, {stage.worker_count} {noun}", "dim")
    _append_state(text, progress, now)
    details = progress.message.removeprefix(f"{stage.name or stage.stage_id}: ")
    if state in {"running", "retrying"}:
        text.append(f"  {details}")
    if progress.error_message:
        text.append(f"  {progress.error_message}", style)
    return text


def _append_state(text: Text, progress: pb.PipelineProgress, now: float) -> None:
    state = word(progress)
    text.append(f"  {state}", _LOOKS[state][1])
    started, ended = parse_time(progress.started_at), parse_time(progress.completed_at)
    if state == "running":
        text.append(f" {progress.progress_percentage}%")
    if started is not None:
        seconds = max(0.0, (now if ended is None else ended) - started)
        text.append(f"  {format_duration(int(seconds) if seconds >= 10 else round(seconds, 1))}", "dim")


def _clock(timestamp: str) -> str:
    """The time of day, UTC, of an RFC 3339 timestamp."""
    return timestamp[11:19] or "--:--:--"
