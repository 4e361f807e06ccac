"""`ottoscaler record`: readings over time, to replay before an HPA is trusted with them."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ottoscaler.adapter.config.load import ConfigError, load
from ottoscaler.adapter.recorder import SampleError, own_sources, running_adapter
from ottoscaler.adapter.recorder import record as record_samples
from ottoscaler.cli.reporting import WRONG_INPUT, fail, run
from ottoscaler.runtime.values import Duration


def record(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The CSV file to write; - is standard output.")],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read these queues (default: those of the environment)."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask a running adapter: http://localhost:8080.")
    ] = None,
    interval: Annotated[str, typer.Option(help="Between samples; an HPA looks every 15s.")] = "15s",
    samples: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
) -> None:
    """Write what the queues hold over time as CSV, until interrupted, to replay against an HPA."""
    try:
        seconds = Duration.parse(interval)
    except ValueError as error:
        fail(f"--interval: {error}", status=WRONG_INPUT)
    if seconds < 0.1:
        fail("--interval: is shorter than 100ms", status=WRONG_INPUT)
    if config is not None and url is not None:
        fail("give either --config or --url", status=WRONG_INPUT)

    async def work() -> None:
        source = (
            running_adapter(url) if url is not None else own_sources(load(config, os.environ), os.environ)
        )
        with ExitStack() as stack:
            file = sys.stdout if str(out) == "-" else stack.enter_context(out.open("w", newline=""))
            async with source as sample:
                await record_samples(sample, file, interval=seconds, samples=samples)

    try:
        run(work())
    except ConfigError as error:
        fail(str(error), status=WRONG_INPUT)
    except SampleError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}")
