"""What the command line tells the process, and how it is told that the process cannot start."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The arguments of `ottoscaler adapter`."""

    config: Path | None = None
    """None: the environment alone."""
    kubeconfig: Path | None = None
    """None: the pod's own service account."""
    standalone: bool = False
    """Serve on loopback by a printed token, with no cluster."""


class StartError(Exception):
    """The process cannot start; one line that says what to do."""
