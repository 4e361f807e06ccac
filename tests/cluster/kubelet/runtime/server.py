"""The runtime's state, and the answers to what the kubelet asks.

Every exit is noted in the record before anybody is told of it, so a kubelet that was away finds in
the inventory what it missed.
"""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster.kubelet.runtime.container import Container
from tests.cluster.kubelet.runtime.logfile import LogFile
from tests.cluster.kubelet.runtime.network import NetworkError, PodNetworks
from tests.cluster.kubelet.runtime.protocol import (
    LINE_LIMIT,
    Call,
    ContainerRecord,
    ContainerSpec,
    CreateSandbox,
    Exited,
    ForgetPod,
    Inventory,
    Message,
    RemoveSandbox,
    Reply,
    Request,
    RunInContainer,
    SandboxRecord,
    SignalContainer,
    StartContainer,
    TakeInventory,
)

_AT_ONCE = 2
"""More at once only make each other slow: this is processor time, not waiting."""


class CallError(Exception):
    """A call that cannot be answered; its text goes to the kubelet."""


class Runtime:
    """Sandboxes and containers of one node."""

    def __init__(self, networks: PodNetworks, *, log_max_bytes: int, log_max_files: int) -> None:
        self._networks = networks
        self._log_max_bytes = log_max_bytes
        self._log_max_files = log_max_files
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._creating: dict[str, asyncio.Lock] = {}
        self._containers: dict[str, Container] = {}
        self._connections: set[asyncio.StreamWriter] = set()
        # Apart, so that a burst of pods starts one by one and not after the last one's network.
        self._networking = asyncio.Semaphore(_AT_ONCE)
        self._starting = asyncio.Semaphore(_AT_ONCE)
        self._tasks = asyncio.TaskGroup()

    async def serve(self, address: str, stop: asyncio.Event) -> None:
        """Answers on the socket until `stop`; then every container is killed."""
        async with self._tasks:
            server = await asyncio.start_unix_server(self._converse, address, limit=LINE_LIMIT)
            async with server:
                await stop.wait()
                server.close()
                for writer in list(self._connections):
                    writer.close()
            for container in self._containers.values():
                container.signal(signal.SIGKILL)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = msgspec.json.Decoder(Request)
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                self._tasks.create_task(self._respond(decoder.decode(line), writer))
        except (ConnectionError, ValueError):
            pass  # the kubelet was killed, perhaps in the middle of a line
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            reply = Reply(number=request.number, result=await self._answer(request.call))
        except (CallError, NetworkError, OSError) as error:
            reply = Reply(number=request.number, error=str(error))
        _send(writer, reply)

    async def _answer(self, call: Call) -> Any:
        match call:
            case CreateSandbox(pod=pod):
                return await self._create_sandbox(pod)
            case RemoveSandbox(pod=pod):
                await self._remove_sandbox(pod)
            case ForgetPod(pod=pod):
                await self._remove_sandbox(pod)
                self._creating.pop(pod, None)
                self._containers = {k: c for k, c in self._containers.items() if c.record.pod != pod}
            case StartContainer(spec=spec):
                return await self._start(spec)
            case SignalContainer(id=container, signal=number):
                self._find(container).signal(number)
            case RunInContainer(id=container, command=command, timeout=seconds):
                return await self._find(container).run(command, timeout=seconds)
            case TakeInventory():
                records = [container.record for container in self._containers.values()]
                return Inventory(sandboxes=list(self._sandboxes.values()), containers=records)
        return None

    async def _create_sandbox(self, pod: str) -> SandboxRecord:
        async with self._creating.setdefault(pod, asyncio.Lock()):
            if pod not in self._sandboxes:
                async with self._networking:
                    address = await self._networks.create()
                self._sandboxes[pod] = SandboxRecord(pod=pod, address=address)
            return self._sandboxes[pod]

    async def _remove_sandbox(self, pod: str) -> None:
        running = [c for c in self._containers.values() if c.record.pod == pod and c.record.exit is None]
        for container in running:
            container.signal(signal.SIGKILL)
        for container in running:
            await container.finished.wait()
        async with self._creating.setdefault(pod, asyncio.Lock()):
            if sandbox := self._sandboxes.pop(pod, None):
                self._networks.release(sandbox.address)

    async def _start(self, spec: ContainerSpec) -> ContainerRecord:
        if not spec.host_network and spec.pod not in self._sandboxes:
            raise CallError(f"pod {spec.pod} has no sandbox")
        async with self._starting:
            network = None if spec.host_network else self._networks.path(self._sandboxes[spec.pod].address)
            log = LogFile(Path(spec.log), max_bytes=self._log_max_bytes, max_files=self._log_max_files)
            container = Container(spec, network=network, log=log)
            self._forget_older(spec)
            self._containers[spec.id] = container
            self._tasks.create_task(self._attend(container))
            return await container.created()

    def _forget_older(self, spec: ContainerSpec) -> None:
        """Only the attempt before the current one can still be asked about."""
        for record in [container.record for container in self._containers.values()]:
            if (record.pod, record.name) == (spec.pod, spec.name) and record.attempt < spec.attempt - 1:
                del self._containers[record.id]

    async def _attend(self, container: Container) -> None:
        container.record.exit = await container.ended()
        container.finished.set()
        for writer in self._connections:
            _send(writer, Exited(id=container.record.id, exit=container.record.exit))

    def _find(self, container: str) -> Container:
        try:
            return self._containers[container]
        except KeyError:
            raise CallError(f"there is no container {container}") from None


def _send(writer: asyncio.StreamWriter, message: Message) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(msgspec.json.encode(message) + b"\n")
