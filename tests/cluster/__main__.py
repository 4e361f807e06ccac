"""The test cluster by hand.

python -m tests.cluster build                 the control plane's program and the image's packages
python -m tests.cluster up [DIR]              a cluster that stays; prints its kubeconfig
python -m tests.cluster exec [DIR] -- CMD…    a command in its network, e.g. kubectl
python -m tests.cluster status [DIR]          what runs, and what died
python -m tests.cluster down [DIR]
python -m tests.cluster pytest ARGS…          a cluster for one test run, which runs inside it
python -m tests.cluster run CMD…              the same for any command

Without DIR they mean one cluster of yours in the cache directory. HPA_SYNC sets the HPA controller's
period (1s unless set).
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from tests.cluster import binaries
from tests.cluster.images import ROOT, ImageError, prepared
from tests.cluster.launcher import TIED, Cluster, ClusterError


class UsageError(Exception):
    """The command line cannot be understood."""


def _directory(arguments: list[str]) -> Path:
    if len(arguments) > 1:
        raise UsageError(f"one directory, not {' '.join(arguments)}")
    return Path(arguments[0]).resolve() if arguments else binaries.cache_directory() / "cluster"


def up(arguments: list[str]) -> None:
    """Starts a cluster that outlives this command."""
    cluster = Cluster.start(_directory(arguments), detached=True)
    where = f" {cluster.directory}" if arguments else ""
    kubectl = cluster.directory / "kubectl"
    # A kubectl for people: it goes into the cluster's network by itself.
    kubectl.write_text(
        "#!/bin/sh\n"
        f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.cluster exec "{cluster.directory}" '
        f'-- "{cluster.binary}" kubectl "$@"\n'
    )
    kubectl.chmod(0o755)
    print(f"kubeconfig  {cluster.kubeconfig}")
    print(f"kubectl     {kubectl} get pods --all-namespaces")
    print(f"a shell     {sys.executable} -m tests.cluster exec{where} -- bash")
    print(f"the end     {sys.executable} -m tests.cluster down{where}")


def execute(arguments: list[str]) -> NoReturn:
    """Replaces this process by the command, inside the cluster's network."""
    if "--" not in arguments or not arguments[arguments.index("--") + 1 :]:
        raise UsageError("exec [DIR] -- COMMAND…")
    place = arguments.index("--")
    cluster = Cluster(_directory(arguments[:place]))
    command = cluster.inside(*arguments[place + 1 :])
    os.execvpe(command[0], command, os.environ | cluster.environ())


def status(arguments: list[str]) -> int:
    """What runs (0), or what died (1)."""
    found = asyncio.run(Cluster(_directory(arguments)).command("status"))
    for name, pid in found["running"].items():
        print(f"{name:<20} runs, pid {pid} inside")
    print(*found["died"], sep="\n", end="")
    return 1 if found["died"] else 0


def run_pytest(arguments: list[str]) -> int:
    """pytest inside a cluster of its own, or, given KUBECONFIG, against that one; its exit status."""
    return run([sys.executable, "-m", "pytest", *arguments])


def run(command: list[str]) -> int:
    """A command inside a cluster of its own, or, given KUBECONFIG, against that one; its exit status."""
    if not command:
        raise UsageError("run COMMAND…")
    if given := os.environ.get("KUBECONFIG"):
        print(f"the cluster of KUBECONFIG={given} is used", file=sys.stderr, flush=True)
        return subprocess.run(command, check=False).returncode
    signal.signal(signal.SIGTERM, _leave)
    with (
        tempfile.TemporaryDirectory(prefix="ottoscaler-cluster-") as scratch,
        Cluster.running(Path(scratch) / "c") as cluster,
    ):
        # Ctrl-C is the command's: pytest says what it saw until then. The cluster goes when that has gone.
        signal.signal(signal.SIGINT, lambda *_: None)
        inside = (*TIED, *cluster.inside(*command))
        result = subprocess.run(inside, env=os.environ | cluster.environ(), check=False).returncode
        for words in cluster.died():
            print(words, file=sys.stderr, flush=True)
        return result


def _leave(number: int, _frame: object) -> NoReturn:
    """Ends by an exception, so that the cluster and its directory go too."""
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """Dispatches; errors are one clear line."""
    verb, rest = (arguments or [""])[0], arguments[1:]
    try:
        match verb:
            case "build":
                print(binaries.controlplane(), prepared(), sep="\n")
            case "up":
                up(rest)
            case "exec":
                execute(rest)
            case "status":
                return status(rest)
            case "down":
                Cluster(_directory(rest)).stop()
            case "pytest":
                return run_pytest(rest)
            case "run":
                return run(rest)
            case _:
                raise UsageError(f"no command {verb!r}\n\n{__doc__}")  # noqa: TRY301
    except (ClusterError, binaries.BuildError, ImageError) as error:
        print(error, file=sys.stderr)
        return 1
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
