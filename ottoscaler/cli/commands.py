"""The commands that people type, each a thin layer over the package that does the work."""

from typing import Annotated

import typer

import ottoscaler
from ottoscaler.cli import apiservice, config, doctor, event, hpa, metrics, pipeline, record, scale
from ottoscaler.runtime.log import configure_logging

app = typer.Typer(
    name="ottoscaler",
    help="Serves the work that waits in Firebase and Redis as Kubernetes external metrics; runs worker pods.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_ELSEWHERE = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""`cli.main` dispatches the two processes before this module is imported; here they are for the help."""

app.add_typer(apiservice.app)
app.add_typer(config.app)
app.add_typer(event.app)
app.add_typer(hpa.app)
app.add_typer(metrics.app)
app.add_typer(pipeline.app)
app.add_typer(scale.app)
app.command()(doctor.doctor)
app.command()(record.record)


@app.command(context_settings=_ELSEWHERE)
def adapter(context: typer.Context) -> None:
    """Serve the metrics (the pod's main process)."""
    from ottoscaler.adapter.main import main

    raise typer.Exit(main(context.args))


@app.command(context_settings=_ELSEWHERE)
def orchestrator(context: typer.Context) -> None:
    """Run worker pods on request (the pod's sidecar)."""
    from ottoscaler.orchestrator.main import main

    raise typer.Exit(main(context.args))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ottoscaler {ottoscaler.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    configure_logging(level="warning")
