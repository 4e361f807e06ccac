"""How commands speak: tables for people, JSON for programs, one line and an exit status for failures.

Exit statuses: 0 done, 1 failed, 2 the input is wrong (arguments, configuration), 3 the value is not
available now.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine, Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

FAILED = 1
WRONG_INPUT = 2
UNAVAILABLE = 3
INTERRUPTED = 130

T = TypeVar("T")


class Output(StrEnum):
    """What `-o` takes."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For people, or for programs.")]


def fail(message: str, *, status: int = FAILED) -> NoReturn:
    """Ends the command with one message on standard error."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(status)


def print_json(value: Any) -> None:
    """`value` on standard output, indented."""
    print(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: frozenset[str]) -> None:
    """Rows under their columns; those in `numbers` are aligned to the right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)  # nobody wants a pipe's line to be folded
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine; an interruption by the user ends the command without a traceback."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
