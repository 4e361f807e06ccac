"""A gRPC proxy that passes everything on, bytes as they are, except where a fault waits for the call."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

import grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcFault:
    """What becomes of one call."""

    what: Literal["status", "silent", "garbage", "empty", "cut", "delay", "instead"]
    """`cut`: the first answers, then UNAVAILABLE. `empty`: success without any answer."""
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    text: str = "a fault on purpose"
    seconds: float = 0.02
    answer: bytes = b""
    """What is answered `instead`."""
    method: str = ""
    """Only calls whose method's name ends so."""
    mentions: bytes = b""
    """Only calls whose request holds these bytes, such as a collection's name."""


class FaultyProxy:
    """Listens on a free port before a Firestore at `target`."""

    def __init__(self, target: str) -> None:
        self.address = ""
        self.is_away = False
        self.calls: Counter[str] = Counter()
        """Calls by method, faults included."""
        self._target = target
        self._faults: list[GrpcFault] = []
        self._outage = asyncio.Lock()
        self._channel: Any = None
        self._server: Any = None

    def add(self, *faults: GrpcFault) -> None:
        """Queues faults of calls still to come; each meets the first call that it fits."""
        self._faults.extend(faults)

    def clear(self) -> None:
        """Forgets those that did not happen."""
        self._faults.clear()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FaultyProxy"]:
        """Serves until left."""
        async with grpc.aio.insecure_channel(self._target) as self._channel:
            await self._start()
            try:
                yield self
            finally:
                await self._server.stop(None)

    def waits_for(self, mention: bytes) -> bool:
        """Whether a fault of calls that mention this has not happened yet."""
        return any(fault.mentions == mention for fault in self._faults)

    async def away(self, seconds: float) -> None:
        """Drops every connection, and refuses new ones for so long."""
        async with self._outage:
            await self.go_away()
            await asyncio.sleep(seconds)
            await self.come_back()

    async def go_away(self) -> None:
        """Drops every connection, and refuses new ones until `come_back`."""
        self.is_away = True
        await self._server.stop(None)

    async def come_back(self) -> None:
        """At the same address."""
        await self._start()
        self.is_away = False

    async def _start(self) -> None:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((_Router(self, self._channel),))
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    def take(self, method: str, request: bytes) -> GrpcFault | None:
        """The fault that this call meets."""
        self.calls[method.rpartition("/")[2]] += 1
        for index, fault in enumerate(self._faults):
            if method.endswith(fault.method) and fault.mentions in request:
                return self._faults.pop(index)
        return None


class _Router(grpc.GenericRpcHandler):
    """Firestore's reads are all one request and a stream of answers."""

    def __init__(self, proxy: FaultyProxy, channel: grpc.aio.Channel) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
            fault = self._proxy.take(method, request)
            if fault is not None and fault.what == "status":
                await context.abort(fault.code, fault.text)
            match fault.what if fault is not None else None:
                case "silent":
                    await asyncio.Event().wait()
                case "garbage":
                    yield b"\xff\xff\xff\xff garbage"
                    return
                case "empty":
                    return
                case "instead" if fault is not None:
                    yield fault.answer
                    return
                case "delay" if fault is not None:
                    await asyncio.sleep(fault.seconds)
            call: Any = self._channel.unary_stream(method)
            async for answer in call(request, metadata=(("authorization", "Bearer owner"),)):
                yield answer
                if fault is not None and fault.what == "cut":
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset by peer")

        return grpc.unary_stream_rpc_method_handler(handle)
