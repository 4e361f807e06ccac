"""The connection to the handler, shared by everything that is sent there.

Hundreds of workers must not each find out that the handler is away: the first failure closes a gate,
one task waits for the channel to come back, and all go on together.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio

from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoHandlerLogServiceStub
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("handler")

_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(
    address: str, *, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> grpc.aio.Channel:
    """A channel in the clear, or by TLS when a CA is given (mutual with a certificate). Connects by need."""
    if ca_file is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca_file.read_bytes(),
        private_key=None if key_file is None else key_file.read_bytes(),
        certificate_chain=None if cert_file is None else cert_file.read_bytes(),
    )
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


_LOOK = 10.0
"""Seconds to wait for the channel before a call is risked."""


class HandlerLink:
    """The handler's stub, and whether it answers."""

    def __init__(self, channel: grpc.aio.Channel, *, telemetry: Telemetry, clock: Clock) -> None:
        self._channel = channel
        self._telemetry = telemetry
        self._clock = clock
        self._backoff = Backoff(initial=0.2, maximum=5.0)
        self._gate = asyncio.Event()
        self._gate.set()
        self._failed = asyncio.Event()
        self._silent = False
        """The outage has been logged; the next line comes when it has answered in between."""
        self.stub = OttoHandlerLogServiceStub(channel)

    @property
    def available(self) -> bool:
        """False between a failure and the channel's return."""
        return self._gate.is_set()

    async def ready(self) -> None:
        """Returns at once while the handler answers, else when it may again."""
        await self._gate.wait()

    def worked(self) -> None:
        """A call was answered."""
        self._backoff.reset()
        self._silent = False
        self._telemetry.handler_up.set(1)

    def failed(self, error: BaseException) -> None:
        """A call was not answered; everybody waits until the channel is back."""
        self._telemetry.handler_up.set(0)
        if self._gate.is_set():
            self._gate.clear()
            self._failed.set()
            if not self._silent:
                code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                log.warning(
                    "the handler does not answer; logs and changes are kept and tried again", error=code
                )

    async def run(self) -> None:
        """Reopens the gate after failures, until cancelled."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            await self._clock.sleep(self._backoff.next())
            with suppress(TimeoutError):
                # If it does not come back in time, the first call finds out and closes the gate again.
                async with asyncio.timeout(_LOOK):
                    await self._channel.channel_ready()
            if not self._silent:
                log.info("asking the handler again")
            self._silent = True
            self._gate.set()

    async def close(self) -> None:
        await self._channel.close()
