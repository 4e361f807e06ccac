"""Starting, entering, commanding and ending a test cluster from outside its namespaces.

A cluster is one process tree with a network, mount and pid namespace of its own: fixed ports never
collide, two clusters run side by side, and killing the launcher leaves nothing behind.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.cluster import binaries, images

_READY_SECONDS = 120.0
_STOP_SECONDS = 20.0
_NEEDED = ("unshare", "nsenter", "setpriv", "ip", "bwrap", "nft", "sysctl")
_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc")
TIED = ("setpriv", "--pdeathsig", "KILL", "--")
"""A command that must not outlive the thread that starts it."""
_SOCKET_PATH_LIMIT = 107
"""Bytes (unix(7)): the directory is part of the control socket's address."""


class ClusterError(Exception):
    """The cluster could not be started, reached or ended; the message says why."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster, known by its directory."""

    directory: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)
    """Kept by who started it, so that it is reaped; others know the cluster by its files."""

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
        return Path(self._about()["binary"])

    @property
    def _control(self) -> Path:
        return self.directory / "control.sock"

    def _about(self) -> dict[str, Any]:
        """What `start` wrote down. Raises `ClusterError`."""
        try:
            about: dict[str, Any] = json.loads((self.directory / "cluster.json").read_bytes())
        except OSError as error:
            raise ClusterError(f"there is no cluster in {self.directory}") from error
        return about

    @classmethod
    def start(cls, directory: Path, *, detached: bool = False) -> Self:
        """Comes up in `directory` (made anew) and returns when pods can run. Raises `ClusterError`.

        The cluster dies with the calling thread unless `detached`.
        """
        _check_machine()
        binary = binaries.controlplane()
        _make_anew(directory)
        cluster = cls(directory)
        about = {"binary": str(binary)}
        (directory / "cluster.json").write_text(json.dumps(about))
        cluster.logs.mkdir()
        images.write(directory / "images.json")
        supervisor = (sys.executable, "-m", "tests.cluster.supervisor", str(directory), str(binary))
        with (cluster.logs / "supervisor.log").open("wb") as log:
            process = subprocess.Popen(
                (*(() if detached else TIED), *_NAMESPACES, *supervisor),
                cwd=images.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for who waits for the cluster, and ends it in order
            )
        identity = {"launcher": process.pid, "started": _started(process.pid)}
        (directory / "cluster.json").write_text(json.dumps(about | identity))
        try:
            cluster._await_ready(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return cls(directory, process)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _READY_SECONDS
        while not (self.directory / "ready.json").exists():
            if process.poll() is not None or time.monotonic() > end:
                said = (self.logs / "supervisor.log").read_text(errors="replace")
                raise ClusterError(f"the cluster in {self.directory} did not come up:\n{said[-4000:]}")
            time.sleep(0.05)

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path) -> Iterator[Self]:
        """A cluster for a while."""
        cluster = cls.start(directory)
        try:
            yield cluster
        finally:
            cluster.stop()

    @property
    def _launcher(self) -> int | None:
        """The pid of the process that holds the namespaces; `None` when it is gone."""
        about = self._about()
        pid: int | None = about.get("launcher")
        return pid if pid is not None and _started(pid) == about["started"] else None

    @property
    def pid(self) -> int:
        """The supervisor's pid outside its namespaces. Raises `ClusterError` when it is gone."""
        if (launcher := self._launcher) is not None:
            with contextlib.suppress(OSError):
                if children := Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
                    return int(children[0])
        raise ClusterError(f"the cluster in {self.directory} does not run")

    def inside(self, *command: str) -> tuple[str, ...]:
        """The command line that runs `command` in the cluster's network."""
        return ("nsenter", "--target", str(self.pid), "--net", "--", *command)

    def environ(self) -> dict[str, str]:
        """Variables for what runs inside: the kubeconfig, and where this cluster is."""
        return {"KUBECONFIG": str(self.kubeconfig), "OTTOSCALER_CLUSTER": str(self.directory)}

    async def command(self, do: str, component: str = "") -> dict[str, Any]:
        """`restart`, `kill`, `stop` or `start` a component; `status`; `shutdown`. Raises `ClusterError`."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._control)
            try:
                writer.write(json.dumps({"do": do, "component": component}).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
            finally:
                writer.close()
        except (OSError, ValueError) as error:
            raise ClusterError(f"the cluster in {self.directory} does not answer") from error
        if "error" in answer:
            raise ClusterError(answer["error"])
        return answer

    def died(self) -> list[str]:
        """What components said that ended without being told to. Raises `ClusterError`."""
        found: list[str] = asyncio.run(self.command("status"))["died"]
        return found

    def stop(self) -> None:
        """Ends everything in it; returns when it is gone (20 s at most, then by force)."""
        launcher = self._launcher
        if launcher is None:
            return
        with contextlib.suppress(ClusterError, ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        while self._launcher is not None and (self._process is None or self._process.poll() is None):
            if time.monotonic() > end:
                os.kill(launcher, signal.SIGKILL)
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5), stat); `None` when it is gone or a zombie.

    With it a pid means the same process for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _make_anew(directory: Path) -> None:
    """An empty directory, in place of that of a cluster that ended. Raises `ClusterError`."""
    if len(os.fsencode(directory / "control.sock")) > _SOCKET_PATH_LIMIT:
        raise ClusterError(f"the path {directory} is too long for a Unix socket in it: choose a shorter one")
    if directory.exists() and any(directory.iterdir()):
        if not (directory / "cluster.json").exists():
            raise ClusterError(f"{directory} holds something else than a cluster: choose another directory")
        if Cluster(directory)._launcher is not None:
            raise ClusterError(f"a cluster runs in {directory} already")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a test cluster needs root for its namespaces (or set KUBECONFIG to use another)")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [command for command in _NEEDED if shutil.which(command) is None]:
        raise ClusterError(f"missing commands: {', '.join(missing)}; run scripts/bootstrap test")
