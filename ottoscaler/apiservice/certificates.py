"""The server's certificate over time: one of our own CA's, or one in files that somebody else keeps.

Both keepers hand each new certificate to a `sink` before its predecessor ends, keep the last good one when
something fails, and say so in the log and in a metric.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from cryptography import x509

from ottoscaler.apiservice.certificate_store import CertificateStore, Stored, StoreError, Superseded
from ottoscaler.apiservice.renewal import DEFAULT_POLICY, OwnCertificates, RenewalPolicy, renewed
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import CertificateError, ServingCertificate
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

_FILES_EVERY = 1.0
"""Seconds between two looks at the files. Volumes change by symlink swaps, which no file event shows."""

log = get_logger("certificates")


class CertificateSink(Protocol):
    """Where a new certificate goes: `ServerTls.use_certificate`. May raise `CertificateError`."""

    def __call__(self, certificate: ServingCertificate, /) -> None: ...


class OwnCertificateKeeper:
    """Creates, renews and shares a certificate of our own CA."""

    def __init__(
        self,
        store: CertificateStore,
        *,
        names: Sequence[str],
        sink: CertificateSink,
        metrics: SecurityMetrics,
        policy: RenewalPolicy = DEFAULT_POLICY,
        on_bundle: Callable[[bytes], None] = lambda _: None,
        published: Callable[[x509.Certificate], bool] = lambda _: True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._names = tuple(names)
        self._sink = sink
        self._metrics = metrics
        self._policy = policy
        self._on_bundle = on_bundle
        """Hears which CAs (PEM) clients must trust, at every change."""
        self._published = published
        """Whether clients are known to trust a CA by now."""
        self._clock = clock
        self._changed = asyncio.Event()
        self._stored: Stored | None = None
        self._held = OwnCertificates()

    async def run(self) -> None:
        """Keeps the certificate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            await self._keep()

    async def _follow(self) -> None:
        async for _ in self._store.changes():
            self._changed.set()

    async def _keep(self) -> None:
        delays = Backoff(initial=0.2, maximum=self._policy.look_every)
        while True:
            try:
                await self.look()
            except Superseded:
                self._stored = None
                wait = random.uniform(0.0, 0.2)  # noqa: S311 - keeps replicas from colliding again
            except (StoreError, CertificateError) as error:
                self._stored = None
                self._metrics.certificate_failing(failing=True)
                wait = delays.next()
                log.warning("certificate not renewed", error=error, retry_in=round(wait, 1))
            else:
                self._metrics.certificate_failing(failing=False)
                delays.reset()
                wait = self._policy.look_every
            await self._pause(wait)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
        self._stored = None

    async def look(self) -> None:
        """Brings store and server to what the calendar says. Raises `Superseded`, `StoreError`,
        `CertificateError`."""
        stored, held = self._stored, self._held
        if stored is None:
            stored = await self._store.load()
            # A store that lost its content gets back what this process still knows.
            held = OwnCertificates.decode(stored.parts) if stored.parts else held
        wanted = renewed(
            held,
            names=self._names,
            now=self._clock.time(),
            policy=self._policy,
            newest_published=held.authority is None or self._published(held.authority.certificate),
        )
        if wanted is not held or not stored.parts:
            stored = await self._store.save(wanted.encode(), stored.version)
        self._stored = stored
        if wanted is not self._held and wanted.encode() != self._held.encode():
            self._take(wanted)
        self._held = wanted

    def _take(self, held: OwnCertificates) -> None:
        leaf, authority = held.leaf, held.authority
        if held.serving is None or leaf is None or authority is None:
            raise CertificateError("what was stored is no certificate with its key")
        if held.bundle != self._held.bundle:
            self._on_bundle(held.bundle_pem())
        if held.serving != self._held.serving:
            self._sink(held.serving)
        self._metrics.certificate_expiry("serving", leaf.not_valid_after_utc.timestamp())
        self._metrics.certificate_expiry("ca", authority.certificate.not_valid_after_utc.timestamp())
        log.info(
            "certificates in use",
            serving=f"{leaf.serial_number:x}",
            until=leaf.not_valid_after_utc.isoformat(),
            trusted_authorities=len(held.bundle),
        )


class CertificateFiles:
    """Serves the certificate in files that cert-manager, a mounted Secret or a person keeps."""

    def __init__(
        self,
        *,
        chain: Path,
        key: Path,
        sink: CertificateSink,
        metrics: SecurityMetrics,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._chain = chain
        self._key = key
        self._sink = sink
        self._metrics = metrics
        self._clock = clock

        self._current: ServingCertificate | None = None

    def load(self) -> None:
        """Reads the files and hands them on. Raises `CertificateError`."""
        self._take(self._read())

    async def run(self) -> None:
        """Loads the files again whenever they change, until cancelled."""
        said: str | None = None
        while True:
            await self._clock.sleep(_FILES_EVERY)
            try:
                certificate = await asyncio.to_thread(self._read)
                if certificate != self._current:
                    self._take(certificate)
                    log.info("certificate reloaded", file=str(self._chain))
            except CertificateError as error:
                self._metrics.certificate_failing(failing=True)
                if str(error) != said:
                    said = str(error)
                    log.warning("new certificate refused, the old one is kept", error=error)
            else:
                self._metrics.certificate_failing(failing=False)
                said = None

    def _read(self) -> ServingCertificate:
        try:
            return ServingCertificate(chain=self._chain.read_bytes(), key=self._key.read_bytes())
        except OSError as error:
            raise CertificateError(f"{error.filename} cannot be read: {error.strerror}") from error

    def _take(self, certificate: ServingCertificate) -> None:
        try:
            leaf = certificate.leaf()
            self._sink(certificate)
        except CertificateError as error:
            raise CertificateError(f"{self._chain}, {self._key}: {error}") from error
        self._current = certificate
        self._metrics.certificate_expiry("serving", leaf.not_valid_after_utc.timestamp())
