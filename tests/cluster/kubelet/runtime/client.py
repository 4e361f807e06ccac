"""The kubelet's end: starts the runtime when none answers, and speaks to it.

A lost connection means that the runtime died, and its containers with it; every waiting call then
raises `RuntimeFailure`.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.cluster.kubelet.runtime.protocol import (
    LINE_LIMIT,
    Call,
    ContainerRecord,
    ContainerSpec,
    CreateSandbox,
    Exit,
    Exited,
    ForgetPod,
    Inventory,
    Message,
    Output,
    RemoveSandbox,
    Reply,
    Request,
    RunInContainer,
    SandboxRecord,
    SignalContainer,
    StartContainer,
    TakeInventory,
    socket_address,
)

_PROJECT = Path(__file__).resolve().parents[4]
_START_SECONDS = 20.0


class RuntimeFailure(Exception):
    """The runtime refused a call, with its reason, or is gone."""


class RuntimeClient:
    """A connection to the runtime. `listen` must run for as long as it is used."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._exits: dict[str, asyncio.Future[Exit]] = {}

    @classmethod
    async def connect(cls, node: str, arguments: list[str], *, log: Path) -> "RuntimeClient":
        """Connects to the node's runtime; starts it with `arguments` when there is none.

        Raises `RuntimeFailure` when it does not come up.
        """
        address = socket_address(node)
        try:
            return cls(*await asyncio.open_unix_connection(address, limit=LINE_LIMIT))
        except OSError:
            process = _launch([node, *arguments], log)
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            await asyncio.sleep(0.02)
            try:
                return cls(*await asyncio.open_unix_connection(address, limit=LINE_LIMIT))
            except OSError as error:
                if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
                    raise RuntimeFailure(f"the container runtime does not start: see {log}") from error

    async def listen(self) -> None:
        """Takes replies and notices until the connection ends. Raises `RuntimeFailure` then."""
        decoder = msgspec.json.Decoder(Message)
        try:
            while line := await self._reader.readline():
                message = decoder.decode(line)
                if isinstance(message, Exited):
                    self.exit(message.id).set_result(message.exit)
                elif waiting := self._replies.pop(message.number, None):
                    waiting.set_result(message)
        except ConnectionError:
            pass
        finally:
            gone = RuntimeFailure("the container runtime is gone")
            for reply in self._replies.values():
                reply.set_exception(gone)
            self._writer.close()
        raise gone

    async def create_sandbox(self, pod: str) -> SandboxRecord:
        return msgspec.convert(await self._call(CreateSandbox(pod=pod)), SandboxRecord)

    async def remove_sandbox(self, pod: str) -> None:
        await self._call(RemoveSandbox(pod=pod))

    async def forget_pod(self, pod: str) -> None:
        """Removes everything of the pod."""
        await self._call(ForgetPod(pod=pod))
        for container in [name for name in self._exits if name.startswith(pod)]:
            del self._exits[container]

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        return msgspec.convert(await self._call(StartContainer(spec=spec)), ContainerRecord)

    async def signal(self, container: str, number: int) -> None:
        await self._call(SignalContainer(id=container, signal=number))

    async def run(self, container: str, command: list[str], *, timeout: float) -> Output:
        """Output and exit status of a command in the container; 137 when it outlived `timeout` seconds."""
        call = RunInContainer(id=container, command=command, timeout=timeout)
        return msgspec.convert(await self._call(call), Output)

    async def inventory(self) -> Inventory:
        return msgspec.convert(await self._call(TakeInventory()), Inventory)

    async def exit_of(self, container: str) -> Exit:
        """Waits for the container's end; known ends are remembered until the pod is forgotten."""
        return await asyncio.shield(self.exit(container))

    def exit(self, container: str) -> asyncio.Future[Exit]:
        """The container's end, for callbacks; never to be cancelled."""
        return self._exits.setdefault(container, asyncio.get_running_loop().create_future())

    async def _call(self, call: Call) -> Any:
        self._number += 1
        number = self._number
        waiting = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(msgspec.json.encode(Request(number=number, call=call)) + b"\n")
            reply = await waiting
        except ConnectionError as error:
            raise RuntimeFailure("the container runtime is gone") from error
        finally:
            self._replies.pop(number, None)
        if reply.error is not None:
            raise RuntimeFailure(reply.error)
        return reply.result


def _launch(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that nothing that ends the kubelet ends the containers."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.kubelet.runtime", *arguments],
            cwd=_PROJECT,
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
