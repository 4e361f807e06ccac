"""kubectl, which is part of the control plane's program, and the cluster that it talks to."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster.launcher import Cluster

Kubectl = Callable[..., str]


def own_cluster() -> Cluster | None:
    """The cluster that was made for this run; `None` when it runs against somebody's."""
    directory = os.environ.get("OTTOSCALER_CLUSTER")
    return Cluster(Path(directory)) if directory else None


def runner(kubeconfig: Path) -> Kubectl:
    """kubectl as that user: it returns the output, and with `check` (the default) a failure is the test's.

    A call takes 120 s at most.
    """
    here = own_cluster()
    command = ["kubectl"] if here is None else [str(here.binary), "kubectl"]

    def run(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
        result = subprocess.run(
            [*command, f"--kubeconfig={kubeconfig}", *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or result.returncode == 0, f"kubectl {' '.join(arguments)}:\n{result.stdout}"
        return result.stdout

    return run
