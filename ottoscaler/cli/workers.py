"""Workers as the orchestrator tells of them, shown once or for as long as they change.

The wire contract has no stream of worker states, so a watch asks again every second. On a terminal one
table is drawn anew; elsewhere each change is a line, and with `-o json` each change is one JSON object.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ottoscaler.cli.calls import CallError
from ottoscaler.cli.reporting import Output, print_json, print_table
from ottoscaler.orchestrator.times import parse_time
from ottoscaler.runtime.values import format_duration

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

INTERVAL = 1.0
"""Seconds between two questions of a watch."""
_COLUMNS = ("POD", "TASK", "STATE", "AGE", "NODE", "ERROR")
_ENDED = frozenset({"Succeeded", "Failed"})


def plain(message: "Message") -> dict[str, Any]:
    """A message as JSON has it, with the contract's field names, empty fields included."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_line(message: "Message") -> None:
    """One JSON object in one line, at once."""
    print(json.dumps(plain(message)), flush=True)


def counted(status: "pb.WorkerStatusResponse") -> str:
    """`3 workers: 0 pending, 2 running, 1 succeeded, 0 failed`."""
    noun = "worker" if status.total_count == 1 else "workers"
    return (
        f"{status.total_count} {noun}: {status.pending_count} pending, {status.running_count} running, "
        f"{status.succeeded_count} succeeded, {status.failed_count} failed"
    )


def show(status: "pb.WorkerStatusResponse", output: Output) -> None:
    """The workers once."""
    if output is Output.JSON:
        print_json(plain(status))
        return
    print(counted(status))
    if status.workers:
        now = datetime.now(UTC).timestamp()
        print_table(_COLUMNS, [_row(each, now) for each in status.workers], numbers=frozenset({"AGE"}))


def _row(worker: "pb.WorkerPodStatus", now: float) -> tuple[str, ...]:
    created = parse_time(worker.created_at)
    age = "" if created is None else format_duration(max(0, int(now - created)))
    task = worker.task_id if len(worker.task_id) <= 40 else f"{worker.task_id[:39]}…"
    return worker.pod_name, task, worker.status, age, worker.node_name, worker.error_message


async def changes(
    ask: Callable[[], Awaitable["pb.WorkerStatusResponse"]], *, patience: float, interval: float = INTERVAL
) -> AsyncGenerator["pb.WorkerStatusResponse", None]:
    """Each answer that differs from the one before.

    Once there was an answer, a server that is away is asked again for `patience` seconds; then, and for
    every other failure, `CallError`.
    """
    last: pb.WorkerStatusResponse | None = None
    answered = 0.0
    while True:
        try:
            status = await ask()
        except CallError as error:
            if last is None or not error.passing or monotonic() - answered > patience:
                raise
        else:
            answered = monotonic()
            if status != last:
                last = status
                yield status
        await asyncio.sleep(interval)


class Display:
    """Shows each change; `with Display(output) as shown: shown.update(status)`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._console = Console(highlight=False)
        self._live: Live | None = None
        self._known: dict[str, str] = {}

    def __enter__(self) -> "Display":
        if self._output is Output.TEXT and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, status: "pb.WorkerStatusResponse") -> None:
        if self._output is Output.JSON:
            print_line(status)
        elif self._live is not None:
            self._live.update(_table(status), refresh=True)
        else:
            for line in self._news(status):
                print(line, flush=True)

    def _news(self, status: "pb.WorkerStatusResponse") -> list[str]:
        now = {each.pod_name: each for each in status.workers}
        lines = [
            f"{name}  {each.status}" + (f": {each.error_message}" if each.error_message else "")
            for name, each in now.items()
            if self._known.get(name) != f"{each.status} {each.error_message}"
        ]
        lines += [f"{name}  gone" for name in self._known if name not in now]
        if not self._known and not now:
            lines.append(counted(status))
        self._known = {name: f"{each.status} {each.error_message}" for name, each in now.items()}
        return lines


def _table(status: "pb.WorkerStatusResponse") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=counted(status), title_justify="left")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column == "AGE" else "left", overflow="fold")
    now = datetime.now(UTC).timestamp()
    for each in status.workers:
        table.add_row(*_row(each, now), style="red" if each.status == "Failed" else "")
    return table


def unfinished(status: "pb.WorkerStatusResponse", names: Collection[str]) -> int:
    """How many of `names` still wait or run; one that is gone has ended."""
    return sum(each.pod_name in names and each.status not in _ENDED for each in status.workers)


def present(status: "pb.WorkerStatusResponse", names: Collection[str]) -> bool:
    """Whether one of `names` still exists, ended or not."""
    return any(each.pod_name in names for each in status.workers)


def failed(status: "pb.WorkerStatusResponse", names: Collection[str]) -> list[str]:
    """Those of `names` that have failed."""
    return [each.pod_name for each in status.workers if each.pod_name in names and each.status == "Failed"]
