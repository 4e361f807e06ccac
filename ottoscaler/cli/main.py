"""The `ottoscaler` command.

The two processes of the pod are dispatched before anything is imported: they have a budget of memory
and of one second to their first answer, and typer and rich alone would take a good part of it. Commands that
scripts call in loops are run without the others, whose imports (the adapter's and the API server's) take
twice as long as they do.
"""

import sys
from importlib import import_module
from io import TextIOWrapper

_PROCESSES = {"adapter": "ottoscaler.adapter.main", "orchestrator": "ottoscaler.orchestrator.main"}
_ALONE = frozenset({"event", "pipeline", "scale"})
"""Groups of `ottoscaler.cli.commands`, each in the module of its name."""


def main() -> None:
    """The console script."""
    arguments = sys.argv[1:]
    module = _PROCESSES.get(arguments[0]) if arguments else None
    if module is not None:
        # structlog imports rich wherever it is installed: 5 MiB for tracebacks in colour that no pod shows
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
        sys.exit(import_module(module).main(arguments[1:]))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a task's id may hold what this terminal cannot show
    if arguments and arguments[0] in _ALONE:
        _alone(arguments[0], arguments[1:])
        return
    from ottoscaler.cli.commands import app

    app()


def _alone(group: str, arguments: list[str]) -> None:
    from ottoscaler.runtime.log import configure_logging

    configure_logging(level="warning")
    import_module(f"ottoscaler.cli.{group}").app(arguments, prog_name=f"ottoscaler {group}")


if __name__ == "__main__":
    main()
