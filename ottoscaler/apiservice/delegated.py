"""Everything that makes an API server one of a cluster's own, in one object.

`DelegatedSecurity` is given a Kubernetes client and says who asks, whether they may, and what TLS looks
like, while its tasks keep all three up to date: the cluster's trust configuration, the serving
certificate, the APIService's `caBundle`. The parts can be used apart; this is how they fit together.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.authentication import DelegatedAuthenticator
from ottoscaler.apiservice.authorization import DelegatedAuthorizer
from ottoscaler.apiservice.ca_bundle import CaBundleKeeper
from ottoscaler.apiservice.certificate_store import CertificateStore
from ottoscaler.apiservice.certificates import CertificateFiles, OwnCertificateKeeper
from ottoscaler.apiservice.delegation import ClusterTrust
from ottoscaler.apiservice.ownership import ServiceReference
from ottoscaler.apiservice.renewal import DEFAULT_POLICY, RenewalPolicy
from ottoscaler.apiservice.reviews import Reviewer
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import ServerTls, ServingCertificate
from ottoscaler.apiservice.tokens import TokenAuthenticator
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.kube import KubeClient
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, supervise

log = get_logger("security")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """Serve a certificate of our own CA, kept in `store`."""

    store: CertificateStore
    service: ServiceReference
    """The Service in front of us; its DNS names go into the certificate."""
    names: Sequence[str] = ()
    """Further DNS names and IP addresses."""
    keep_ca_bundle: bool = True
    """Whether the APIService's `caBundle` is ours to patch."""
    policy: RenewalPolicy = DEFAULT_POLICY

    def every_name(self) -> tuple[str, ...]:
        """The aggregator asks for `<service>.<namespace>.svc`."""
        name, namespace = self.service.name, self.service.namespace
        return (f"{name}.{namespace}.svc", f"{name}.{namespace}", name, *self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCertificate:
    """Serve the certificate in these files (cert-manager, a mounted Secret)."""

    chain: Path
    key: Path


class DelegatedSecurity:
    """Delegated authentication and authorisation, and TLS, for one API server.

    `run` must be running while the rest is used. Raises `CertificateError` when given files cannot serve.
    """

    def __init__(
        self,
        client: KubeClient,
        certificate: OwnCertificate | GivenCertificate,
        *,
        registry: CollectorRegistry | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        metrics = SecurityMetrics(registry)
        self._clock = clock
        self._client = client
        self._certified = asyncio.Event()
        self.tls = ServerTls()
        self.trust = ClusterTrust(
            metrics=metrics, on_change=lambda trust: self.tls.trust(trust.authorities), clock=clock
        )
        self.authenticator = DelegatedAuthenticator(
            self.trust.current,
            TokenAuthenticator(Reviewer(client, "token", metrics=metrics, clock=clock), clock=clock),
            clock=clock,
        )
        self.authorizer = DelegatedAuthorizer(
            Reviewer(client, "access", metrics=metrics, clock=clock), clock=clock
        )
        self._tasks: dict[str, Callable[[], Awaitable[None]]] = {"trust": self._follow_trust}
        if isinstance(certificate, GivenCertificate):
            self._serve_files(certificate, metrics)
        else:
            self._serve_own(certificate, metrics)

    async def run(self) -> None:
        """Keeps everything up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, run in self._tasks.items():
                tasks.create_task(_supervised(name, run, self._clock), name=f"security:{name}")

    async def ready(self) -> None:
        """Returns when a certificate can be shown and callers can be told apart."""
        await self._certified.wait()
        await self.trust.known.wait()

    def is_ready(self) -> bool:
        """Once true it stays true: what is known is kept while the API server is away."""
        return self._certified.is_set() and self.trust.known.is_set()

    async def _follow_trust(self) -> None:
        await self.trust.follow(self._client)

    def _serve_files(self, certificate: GivenCertificate, metrics: SecurityMetrics) -> None:
        files = CertificateFiles(
            chain=certificate.chain,
            key=certificate.key,
            sink=self._show,
            metrics=metrics,
            clock=self._clock,
        )
        files.load()
        self._tasks["certificate"] = files.run

    def _serve_own(self, certificate: OwnCertificate, metrics: SecurityMetrics) -> None:
        bundle = CaBundleKeeper(self._client, service=certificate.service, metrics=metrics)
        keeps = certificate.keep_ca_bundle
        keeper = OwnCertificateKeeper(
            certificate.store,
            names=certificate.every_name(),
            sink=self._show,
            metrics=metrics,
            policy=certificate.policy,
            on_bundle=bundle.want,
            published=bundle.published if keeps else lambda _: True,
            clock=self._clock,
        )
        self._tasks["certificate"] = keeper.run
        if keeps:
            self._tasks["caBundle"] = bundle.run

    def _show(self, certificate: ServingCertificate) -> None:
        self.tls.use_certificate(certificate)
        self._certified.set()


async def _supervised(name: str, run: Callable[[], Awaitable[None]], clock: Clock) -> None:
    def failed(error: Exception, delay: float) -> None:
        causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        for cause in causes:
            log.error(
                "a security task failed and is started again",
                task=name,
                error=cause,
                retry_in=round(delay, 1),
            )

    await supervise(run, backoff=Backoff(), on_failure=failed, clock=clock)
