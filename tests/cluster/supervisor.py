"""The first process of a cluster's namespaces: starts the components, keeps an eye on them, obeys.

It is pid 1 there, so it reaps what others leave behind, and when it goes the kernel takes everything
along. Commands come over a Unix socket: a test restarts one component while the rest goes on.

    python -m tests.cluster.supervisor DIRECTORY BINARY    (in new network, mount and pid namespaces)
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster import pki
from tests.cluster.addresses import GATEWAY, NODE_DISK, NODE_IP, SERVICE_CIDR
from tests.cluster.components import START_ORDER, Component, components
from tests.cluster.readiness import Readiness

_TAIL_BYTES = 16_384
_NETWORK = (
    "ip link set lo up",
    f"ip addr add {NODE_IP}/32 dev lo",
    f"ip addr add {GATEWAY}/32 dev lo",
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1",
    # Without a route, a connect to a ClusterIP is ENETUNREACH before the NAT rules see it.
    f"ip route add {SERVICE_CIDR} dev lo src {NODE_IP}",
    # Hermetic: nothing here reaches anything else.
    "ip route add unreachable default",
)


class Supervisor:
    """The processes of one cluster."""

    def __init__(self, directory: Path, binary: Path) -> None:
        self._directory = directory
        self._logs = directory / "logs"
        self._components = components(binary, directory, hpa_sync=os.environ.get("HPA_SYNC", "1s"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._died: list[str] = []
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Until a signal or the command `shutdown`. Raises `RuntimeError` when it cannot come up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        reaper = asyncio.create_task(self._reap())
        try:
            times = await self._come_up()
            socket = self._directory / "control.sock"
            socket.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, socket)
            (self._directory / "ready.json").write_text(json.dumps(times))
            async with server:
                await self._stopping.wait()
        finally:
            self._stopping.set()
            for name in reversed(START_ORDER):
                await self._stop(name)
            reaper.cancel()

    async def _come_up(self) -> dict[str, float]:
        started = time.monotonic()
        ready = Readiness(self._directory / "pki")
        times: dict[str, float] = {}

        async def wait(what: str) -> None:
            await ready.wait(what, broken=lambda: "\n".join(self._died))
            times[what] = round(time.monotonic() - started, 2)

        for command in _NETWORK:
            subprocess.run(command.split(), check=True)
        disk = self._directory / "disk"
        disk.mkdir()
        Path(NODE_DISK).mkdir(parents=True, exist_ok=True)
        subprocess.run(("mount", "--bind", str(disk), NODE_DISK), check=True)
        pki.make(self._directory / "pki")
        for name in ("etcd", "apiserver"):
            self._start(self._components[name])
        # The others would retry by themselves, but on two cores they only take time from the API server.
        await wait("apiserver")
        for name in START_ORDER[2:]:
            self._start(self._components[name])
        for what in ("node", "service-account", "root-ca", "proxy"):
            await wait(what)
        return times

    def _start(self, component: Component) -> None:
        with (self._logs / f"{component.name}.log").open("ab") as log:
            self._running[component.name] = subprocess.Popen(
                component.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | component.environ,
            )

    async def _stop(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        end = time.monotonic() + self._components[name].grace_seconds
        while process.poll() is None:
            if time.monotonic() > end:
                process.kill()
            await asyncio.sleep(0.02)

    async def _reap(self) -> None:
        """Collects orphans, and says loudly when a component dies that nobody stopped."""
        while True:
            for name, process in list(self._running.items()):
                if process.poll() is not None:
                    del self._running[name]
                    words = f"{name} died with status {process.returncode}:\n{self._tail(name)}"
                    self._died.append(words)
                    print(words, flush=True)
            _collect_orphans({process.pid for process in self._running.values()})
            await asyncio.sleep(0.1)

    def _tail(self, name: str, lines: int = 15) -> str:
        with (self._logs / f"{name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            async with self._changing:
                answer = await self._obey(request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        finally:
            writer.close()

    async def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """`{"do": …, "component": …}`: what became of it, or `{"error": …}`."""
        do, name = request["do"], request["component"]
        if name not in self._components and do not in {"status", "shutdown"}:
            return {"error": f"no component {name!r}: there are {', '.join(START_ORDER)}"}
        match do:
            case "restart":
                await self._stop(name)
                self._start(self._components[name])
            case "kill":
                await self._stop(name, signal.SIGKILL)
            case "stop":
                await self._stop(name)
            case "start" if name in self._running:
                return {"error": f"{name} runs already"}
            case "start":
                self._start(self._components[name])
            case "shutdown":
                self._stopping.set()
            case "status":
                pids = {each: process.pid for each, process in self._running.items()}
                return {"running": pids, "died": self._died}
            case _:
                return {"error": f"no command {do!r}"}
        return {"done": do}


def _collect_orphans(ours: set[int]) -> None:
    """Reaps children that were inherited; never waits."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, options)) is not None and ended.si_pid not in ours:
            os.waitpid(ended.si_pid, 0)


def main() -> None:
    """Comes up, writes `ready.json`, ends when told."""
    directory, binary = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        asyncio.run(Supervisor(directory, binary).run())
    except RuntimeError as error:
        sys.exit(f"the cluster did not come up: {error}")


if __name__ == "__main__":
    main()
