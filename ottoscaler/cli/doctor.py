"""`ottoscaler doctor`: can every queue of this configuration be read, and if not, what is to be done."""

import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ottoscaler.adapter.config.load import ConfigError, load
from ottoscaler.adapter.examination import examine, is_readable
from ottoscaler.cli.reporting import (
    FAILED,
    WRONG_INPUT,
    Output,
    OutputOption,
    fail,
    print_json,
    print_table,
    run,
)
from ottoscaler.runtime.values import Duration


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read these queues (default: those of the environment)."),
    ] = None,
    within: Annotated[str, typer.Option(help="How long to wait for all of them.")] = "30s",
    output: OutputOption = Output.TEXT,
) -> None:
    """Read every queue once, as the adapter would, and say what keeps it from doing so."""
    try:
        seconds = float(Duration.parse(within))
        found = run(examine(load(config, os.environ), os.environ, within=seconds))
    except ConfigError as error:
        fail(str(error), status=WRONG_INPUT)
    except ValueError as error:
        fail(f"--within: {error}", status=WRONG_INPUT)
    unreadable = [status for status in found if not is_readable(status)]
    if output is Output.JSON:
        print_json([msgspec.to_builtins(status) for status in found])
    else:
        rows = [
            (
                status.queue,
                status.kind,
                "readable" if is_readable(status) else "UNREADABLE",
                *("" if count is None else str(count) for count in (status.waiting, status.processing)),
            )
            for status in found
        ]
        columns = ("QUEUE", "KIND", "", "WAITING", "PROCESSING")
        print_table(columns, rows, numbers=frozenset({"WAITING", "PROCESSING"}))
        for status in unreadable:
            typer.echo(f"queue {status.queue}: {status.error}", err=True)
    if unreadable:
        raise typer.Exit(FAILED)
