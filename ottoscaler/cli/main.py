"""The `ottoscaler` command.

The two processes of the pod are dispatched before anything is imported: they have a budget of memory
and of one second to their first answer, and typer and rich alone would take a good part of it.
"""

import sys
from importlib import import_module
from io import TextIOWrapper

_PROCESSES = {"adapter": "ottoscaler.adapter.main", "orchestrator": "ottoscaler.orchestrator.main"}


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
    from ottoscaler.cli.commands import app

    app()


if __name__ == "__main__":
    main()
