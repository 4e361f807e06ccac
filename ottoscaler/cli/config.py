"""`ottoscaler config`: is this file good, and what may be in it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from ottoscaler.adapter.config.load import ConfigError, load
from ottoscaler.adapter.sources.registry import BackendError
from ottoscaler.cli.reporting import WRONG_INPUT, Output, OutputOption, fail, print_json, print_table

app = typer.Typer(name="config", help="The adapter's configuration.", no_args_is_help=True)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Say everything that is wrong with FILE, or what it configures. Connects to nothing."""
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        if output is Output.JSON:
            print_json({"valid": False, "problems": [problem._asdict() for problem in error.problems]})
        else:
            typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_INPUT) from None
    queues = [
        {
            "queue": queue.name,
            "kind": queue.kind,
            "interval": queue.interval,
            "maxAge": float(queue.options.max_age),
            "namespaces": list(queue.options.namespaces or ()),
        }
        for queue in config.queues
    ]
    if output is Output.JSON:
        metrics = [metric.name for metric in config.root.metrics]
        print_json({"valid": True, "hash": config.digest, "queues": queues, "metrics": metrics})
        return
    rows = [
        (queue.name, queue.kind, str(queue.options.max_age), ", ".join(queue.options.namespaces or ("all",)))
        for queue in config.queues
    ]
    print_table(("QUEUE", "KIND", "MAX AGE", "NAMESPACES"), rows, numbers=frozenset())


@app.command()
def schema() -> None:
    """Print the JSON schema of the file."""
    from ottoscaler.adapter.config.schema import schema as generate

    try:
        print_json(generate())
    except BackendError as error:
        fail(str(error))
