"""The test cluster by hand.

python -m tests.cluster build                 the control plane's program
python -m tests.cluster up [DIR]              a cluster that stays; prints its kubeconfig
python -m tests.cluster exec [DIR] -- CMD…    a command in its network, e.g. kubectl
python -m tests.cluster status [DIR]
python -m tests.cluster down [DIR]
python -m tests.cluster pytest ARGS…          a cluster for one test run, which runs inside it
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.launcher import Cluster, ClusterError


def _directory(arguments: list[str]) -> Path:
    given = [each for each in arguments if each != "--"]
    return Path(given[0]).resolve() if given else binaries.cache_directory() / "cluster"


def up(arguments: list[str]) -> int:
    """Starts a cluster that outlives this command."""
    cluster = Cluster.start(_directory(arguments), detached=True)
    link = cluster.directory / "kubectl"
    link.write_text(f'#!/bin/sh\nexec "{cluster.binary}" kubectl "$@"\n')
    link.chmod(0o755)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f"# in its network: {sys.executable} -m tests.cluster exec -- {link} get pods --all-namespaces")
    return 0


def execute(arguments: list[str]) -> int:
    """Replaces this process by the command, inside the cluster's network."""
    place = arguments.index("--") if "--" in arguments else 0
    cluster = Cluster(_directory(arguments[:place]))
    command = cluster.inside(*arguments[place + ("--" in arguments) :])
    os.execvpe(command[0], command, os.environ | cluster.environ())


def run_pytest(arguments: list[str]) -> int:
    """pytest inside a cluster of its own, or, given KUBECONFIG, against that one."""
    pytest = (sys.executable, "-m", "pytest", *arguments)
    if os.environ.get("KUBECONFIG"):
        return subprocess.run(pytest, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="ottoscaler-cluster-") as scratch:
        cluster = Cluster.start(Path(scratch) / "c")
        try:
            return subprocess.run(
                cluster.inside(*pytest), env=os.environ | cluster.environ(), check=False
            ).returncode
        finally:
            cluster.stop()


def main(arguments: list[str]) -> int:
    """Dispatches; errors are one clear line."""
    verb, rest = (arguments or [""])[0], arguments[1:]
    try:
        match verb:
            case "build":
                print(binaries.controlplane())
            case "up":
                return up(rest)
            case "exec":
                return execute(rest)
            case "status":
                print(asyncio.run(Cluster(_directory(rest)).command("status")))
            case "down":
                Cluster(_directory(rest)).stop()
            case "pytest":
                return run_pytest(rest)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (ClusterError, binaries.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
