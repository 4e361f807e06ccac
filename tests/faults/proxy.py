"""A TCP proxy between a source and its backend that does what networks and dying servers do.

Faults hit what the backend answers, on connections that are open as well as on new ones, from the moment
they are inflicted until `heal()`. What was swallowed stays lost: after a silence, connections that lived
through it stay silent, as half-open ones do.
"""

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

_CHUNK = 65536


class Fault(Enum):
    """What can happen to the answers."""

    REFUSED = "refused"
    """Nobody listens, and open connections are reset."""
    RESET = "reset"
    """RST in the middle of an answer."""
    TRUNCATED = "truncated"
    """The connection is closed in good order in the middle of an answer."""
    SILENCE = "silence"
    """Connections open and take everything; nothing comes back, not even a FIN."""
    DRIP = "drip"
    """A byte now and then."""
    GARBAGE = "garbage"
    """The rest of an answer is random bytes. (A single flipped digit is not among the faults: TCP has
    checksums, and no protocol here could notice it.)"""
    INSERTED = "inserted"
    """Random bytes stand between those of an answer."""


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    dead: bool = False
    """Lived through a silence."""


class FaultProxy:
    """`async with FaultProxy("127.0.0.1", 6379, seed=7) as proxy:` then connect to `proxy.port`."""

    def __init__(self, host: str, port: int, *, seed: int = 0) -> None:
        self._upstream = (host, port)
        self._random = random.Random(seed)
        self._fault: Fault | None = None
        self._after = 0
        """Bytes of answers that still pass before the fault strikes."""
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.bytes_answered = 0

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._connections)

    async def inflict(self, fault: Fault, *, after: int = 0) -> None:
        """Begins `fault` once `after` more bytes of answers have passed."""
        self._fault, self._after = fault, after
        if fault is Fault.REFUSED:
            await self._stop_listening()
            for connection in list(self._connections):
                _reset(connection.client)

    async def heal(self) -> None:
        """Ends the fault; new connections work again."""
        self._fault = None
        if self._server is None:
            await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            server_reader, connection.server = await asyncio.open_connection(*self._upstream)
            await self._carry(connection, reader, server_reader)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for end in (connection.client, connection.server):
                if end is not None:
                    end.close()

    async def _carry(
        self, connection: _Connection, client: asyncio.StreamReader, server: asyncio.StreamReader
    ) -> None:
        """Both ways, until one of them ends."""
        ways = [
            asyncio.create_task(self._questions(connection, client)),
            asyncio.create_task(self._answers(connection, server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _questions(self, connection: _Connection, client: asyncio.StreamReader) -> None:
        while data := await client.read(_CHUNK):
            if self._is_silent(connection) or connection.server is None:
                continue
            connection.server.write(data)
            await connection.server.drain()

    async def _answers(self, connection: _Connection, server: asyncio.StreamReader) -> None:
        while True:
            data = await server.read(_CHUNK)
            if not data:
                if self._is_silent(connection):
                    await asyncio.Event().wait()  # not even a FIN
                return
            if not await self._answer(connection, data):
                return

    async def _answer(self, connection: _Connection, data: bytes) -> bool:
        """Passes `data` on, as far as the fault lets it; False when the connection has ended."""
        writer = connection.client
        if self._is_silent(connection):
            return True
        clean, data = (data, b"") if self._fault is None else (data[: self._after], data[self._after :])
        self._after -= len(clean) if self._fault is not None else 0
        if clean:
            self.bytes_answered += len(clean)
            writer.write(clean)
            with contextlib.suppress(OSError):
                await writer.drain()
        if not data:
            return True
        match self._fault:
            case Fault.RESET | Fault.REFUSED:
                _reset(writer)
                return False
            case Fault.TRUNCATED:
                return False
            case Fault.SILENCE:
                connection.dead = True
            case Fault.DRIP:
                await self._drip(writer, data)
            case Fault.GARBAGE:
                writer.write(self._random.randbytes(len(data)))
            case Fault.INSERTED:
                at = self._random.randint(0, len(data))
                writer.write(data[:at] + self._random.randbytes(self._random.randint(8, 40)) + data[at:])
        return True

    async def _drip(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(len(data)):
            if self._fault is not Fault.DRIP:
                writer.write(data[at:])
                return
            writer.write(data[at : at + 1])
            await asyncio.sleep(0.02)

    def _is_silent(self, connection: _Connection) -> bool:
        if self._fault is Fault.SILENCE and self._after <= 0:
            connection.dead = True
        return connection.dead


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
