"""Starting, entering, commanding and ending a test cluster from outside its namespaces.

A cluster is one process tree with a network, mount and pid namespace of its own: fixed ports never
collide, two clusters run side by side, and killing the launcher leaves nothing behind.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.cluster import binaries, images

_READY_SECONDS = 120.0
_NEEDED = ("unshare", "nsenter", "setpriv", "ip", "bwrap", "nft", "sysctl")


class ClusterError(Exception):
    """The cluster could not be started, reached or ended; the message says why."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster, known by its directory."""

    directory: Path

    @property
    def pki(self) -> Path:
        """All certificates and kubeconfigs."""
        return self.directory / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.pki / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        """`NAME.log` of each component."""
        return self.directory / "logs"

    @property
    def binary(self) -> Path:
        """The control plane's program, which is kubectl too."""
        return Path((self.directory / "binary").read_text())

    @classmethod
    def start(cls, directory: Path, *, detached: bool = False) -> Self:
        """Comes up in `directory` (made anew) and returns when pods can run. Raises `ClusterError`.

        The cluster dies with the calling process unless `detached`.
        """
        _check_machine()
        binary = binaries.controlplane()
        if directory.exists():
            shutil.rmtree(directory)
        (directory / "logs").mkdir(parents=True)
        (directory / "binary").write_text(str(binary))
        images.write(directory / "images.json")
        tie = () if detached else ("setpriv", "--pdeathsig", "KILL")
        spaces = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
        supervisor = (sys.executable, "-m", "tests.cluster.supervisor", str(directory), str(binary))
        with (directory / "logs" / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(
                (*tie, *spaces, *supervisor),
                cwd=images.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=detached,
            )
        (directory / "launcher.pid").write_text(str(process.pid))
        cluster = cls(directory)
        cluster._await_ready(process)
        return cluster

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _READY_SECONDS
        while not (self.directory / "ready.json").exists():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                process.wait()
                said = (self.logs / "supervisor.log").read_text(errors="replace")
                raise ClusterError(f"the cluster in {self.directory} did not come up:\n{said[-4000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The supervisor's pid outside its namespaces. Raises `ClusterError` when it is gone."""
        launcher = int((self.directory / "launcher.pid").read_text())
        try:
            children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        except OSError as error:
            raise ClusterError(f"the cluster in {self.directory} does not run") from error
        if not children:
            raise ClusterError(f"the cluster in {self.directory} does not run")
        return int(children[0])

    def inside(self, *command: str) -> tuple[str, ...]:
        """The command line that runs `command` in the cluster's network."""
        return ("nsenter", "--target", str(self.pid), "--net", "--", *command)

    def environ(self) -> dict[str, str]:
        """Variables for what runs inside: the kubeconfig, and where this cluster is."""
        return {"KUBECONFIG": str(self.kubeconfig), "OTTOSCALER_CLUSTER": str(self.directory)}

    async def command(self, do: str, component: str = "") -> dict[str, Any]:
        """`restart`, `kill`, `stop` or `start` a component; `status`; `shutdown`. Raises `ClusterError`."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.directory / "control.sock")
        except OSError as error:
            raise ClusterError(f"the cluster in {self.directory} does not answer") from error
        writer.write(json.dumps({"do": do, "component": component}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer

    def stop(self) -> None:
        """Ends everything in it; returns when it is gone (20 s at most, then by force)."""
        launcher = int((self.directory / "launcher.pid").read_text())
        try:
            os.kill(self.pid, signal.SIGTERM)
        except (ClusterError, ProcessLookupError):
            return
        end = time.monotonic() + 20
        while _alive(launcher):
            if time.monotonic() > end:
                os.kill(launcher, signal.SIGKILL)
            time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # detached: somebody else's child
        return Path(f"/proc/{pid}/cmdline").exists() and bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return ended == 0


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a test cluster needs root for its namespaces (or set KUBECONFIG to use another)")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [command for command in _NEEDED if shutil.which(command) is None]:
        raise ClusterError(f"missing commands: {', '.join(missing)}; run scripts/bootstrap test")
