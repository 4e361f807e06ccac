"""The event stream of a path: the whole value first, then every change, then a keep-alive in silence."""

import asyncio
import contextlib

from aiohttp import web

from tests.rtdb.answers import reset
from tests.rtdb.events import Command, Listener
from tests.rtdb.faults import GARBAGE, Fault

KEEP_ALIVE = b"event: keep-alive\ndata: null\n\n"
_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Stream:
    """One open stream; `sent` counts its bytes."""

    def __init__(self, listener: Listener, *, keep_alive: float) -> None:
        self.listener = listener
        self.sent = 0
        self._keep_alive = keep_alive
        self._silent = False

    def disturb(self, fault: Fault) -> None:
        """Makes the fault happen behind what already waits to be sent."""
        outbox = self.listener.outbox
        match fault.what:
            case "reset":
                outbox.put_nowait(Command.ABORT)
            case "truncated":
                outbox.put_nowait(b'event: put\ndata: {"path":"/","da')
                outbox.put_nowait(Command.ABORT)
            case "garbage":
                outbox.put_nowait(b"event: put\ndata: " + GARBAGE)
            case "end":
                outbox.put_nowait(Command.END)
            case "send":
                outbox.put_nowait(fault.body.encode())
            case _:
                outbox.put_nowait(Command.SILENCE)

    async def serve(self, request: web.Request, opening: Fault | None) -> web.StreamResponse:
        """Sends until the client leaves or a fault ends it."""
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if opening is not None:
                await self._open_badly(request, response, opening)
            else:
                await self._send_all(request, response)
        return response

    async def _send_all(self, request: web.Request, response: web.StreamResponse) -> None:
        while True:
            match await self._next():
                case Command.END:
                    return
                case Command.ABORT:
                    reset(request)
                    return
                case Command.SILENCE:
                    self._silent = True
                case bytes() as data if not self._silent:
                    await self._write(response, data)

    async def _next(self) -> bytes | Command:
        outbox = self.listener.outbox
        if not outbox.empty():
            return outbox.get_nowait()
        try:
            # not `wait_for`, which in Python 3.11 swallows a cancellation that comes together with an item
            async with asyncio.timeout(self._keep_alive):
                return await outbox.get()
        except TimeoutError:
            return KEEP_ALIVE

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        self.sent += len(data)
        await response.write(data)

    async def _open_badly(self, request: web.Request, response: web.StreamResponse, fault: Fault) -> None:
        first = await self._next()
        assert isinstance(first, bytes)
        match fault.what:
            case "garbage":
                await self._write(response, b"event: put\ndata: " + GARBAGE)
            case "truncated":
                await self._write(response, first[: len(first) // 2])
            case "silent":
                await asyncio.Event().wait()
            case "delay":
                await asyncio.sleep(fault.seconds)
                await self._write(response, first)
                await self._send_all(request, response)
                return
            case "drip":
                for index in range(len(first)):
                    await self._write(response, first[index : index + 1])
                    await asyncio.sleep(fault.seconds)
                await self._send_all(request, response)
                return
        reset(request)
