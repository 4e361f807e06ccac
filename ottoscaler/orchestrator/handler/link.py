"""The connection to the handler, shared by everything that is sent there.

Hundreds of workers must not each find out that the handler is away: the first failure closes a gate,
one task waits for the channel to come back, and all go on together. Certificates that are renewed on disk
make a new channel; calls that are under way end on the old one.
"""

import asyncio
from contextlib import suppress

import grpc
import grpc.aio

from ottoscaler.orchestrator.certificates import CertificateFiles, UnusableCertificate
from ottoscaler.orchestrator.config.model import Handler, HandlerTls
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoHandlerLogServiceStub
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.files import changes
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
    ("grpc.use_local_subchannel_pool", 1),
)
_LAST_CALLS = 10.0
"""Seconds that calls have to end on a channel whose certificates are no longer those on disk."""


_LOOK = 10.0
"""Seconds to wait for the channel before a call is risked."""


class HandlerLink:
    """The handler's stub, and whether it answers."""

    def __init__(self, settings: Handler, *, telemetry: Telemetry, clock: Clock) -> None:
        """Connects by need. Raises `UnusableCertificate`."""
        self._address = settings.address
        self._files = _files(settings.tls)
        self._channel = self._open()
        self._telemetry = telemetry
        self._clock = clock
        self._backoff = Backoff(initial=0.2, maximum=5.0)
        self._gate = asyncio.Event()
        self._gate.set()
        self._failed = asyncio.Event()
        self._silent = False
        """The outage has been logged; the next line comes when it has answered in between."""
        self.stub = OttoHandlerLogServiceStub(self._channel)

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
        """Reopens the gate after failures, and the channel with renewed certificates, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reopen())
            if self._files is not None:
                tasks.create_task(self._renew(self._files, tasks))

    async def _reopen(self) -> None:
        while True:
            await self._failed.wait()
            self._failed.clear()
            await self._clock.sleep(self._backoff.next())
            with suppress(TimeoutError, grpc.aio.UsageError):
                # If it does not come back in time, the first call finds out and closes the gate again.
                # `UsageError`: the channel was closed since there are renewed certificates.
                async with asyncio.timeout(_LOOK):
                    await self._channel.channel_ready()
            if not self._silent:
                log.info("asking the handler again")
            self._silent = True
            self._gate.set()

    async def _renew(self, files: CertificateFiles, tasks: asyncio.TaskGroup) -> None:
        async for _ in changes(files.paths(), clock=self._clock):
            try:
                fresh = self._open()
            except UnusableCertificate as error:  # half written, perhaps: the rest of it is a change too
                log.warning("the renewed certificates for the handler cannot be used", error=error)
                continue
            former, self._channel = self._channel, fresh
            self.stub = OttoHandlerLogServiceStub(fresh)
            tasks.create_task(former.close(_LAST_CALLS))

    async def close(self) -> None:
        await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        """A channel in the clear, or by TLS when a CA is given (mutual with a certificate)."""
        if self._files is None:
            return grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        pems = self._files.read()
        self._files.check()
        credentials = grpc.ssl_channel_credentials(
            pems.authorities, pems.key or None, pems.certificate or None
        )
        return grpc.aio.secure_channel(self._address, credentials, options=_OPTIONS)


def _files(tls: HandlerTls | None) -> CertificateFiles | None:
    return None if tls is None else CertificateFiles(tls.cert_file, tls.key_file, tls.ca_file)
