"""The external-metrics API as this process serves it: to a cluster, or to one person on one machine.

In a cluster the server believes that cluster's front proxy, certificates and tokens; standalone it
believes one token, on loopback. Everything between the socket and the readings is the same in both.
"""

import asyncio
import os
import shlex
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from ottoscaler.adapter.client import GROUP_VERSION
from ottoscaler.adapter.config.model import Api as ApiConfig
from ottoscaler.adapter.options import StartError
from ottoscaler.apiservice.certificate_store import CertificateStore, DirectoryStore, SecretStore, StoreError
from ottoscaler.apiservice.provider import MetricsProvider
from ottoscaler.apiservice.request_metrics import RequestMetrics
from ottoscaler.apiservice.server import ExternalMetricsServer
from ottoscaler.apiservice.tls import CertificateError
from ottoscaler.runtime.config import split_address
from ottoscaler.runtime.kube import KubeClient

if TYPE_CHECKING:  # a process needs one of the two, and each costs memory
    from ottoscaler.apiservice.delegated import DelegatedSecurity, GivenCertificate, OwnCertificate
    from ottoscaler.apiservice.standalone import StandaloneSecurity

TOKEN_VARIABLE = "OTTOSCALER_TOKEN"  # noqa: S105 - the name of a variable
Check = Callable[[], str | None]
"""Says why something is not ready, or None when it is."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ANYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_LEAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Api:
    """The server while it runs."""

    _server: ExternalMetricsServer
    _readiness: tuple[Check, ...]

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self._server.addresses[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def not_ready(self) -> str | None:
        """Why it cannot answer now, or None when it can."""
        if self._server.leaving:
            return "shutting down"
        return next((reason for check in self._readiness if (reason := check()) is not None), None)

    def begin_to_leave(self) -> None:
        """Not ready from now on, and answering still."""
        self._server.begin_to_leave()


@asynccontextmanager
async def serve_api(
    config: ApiConfig,
    provider: MetricsProvider,
    registry: CollectorRegistry,
    *,
    kube: KubeClient | None,
    warming: Check,
) -> AsyncIterator[Api]:
    """Serves `provider` until the block is left: to the cluster of `kube`, or standalone without one.

    `warming` says why answers are not worth asking for yet.

    Raises `StartError`.
    """
    host, port = split_address(config.address)
    async with AsyncExitStack() as stack:
        security: DelegatedSecurity | StandaloneSecurity
        if kube is None:
            host = on_loopback(host)
            alone = security = await _standalone(config, registry, stack)
        else:
            alone, security = None, _delegated(config, registry, kube)

        def unsecured() -> str | None:
            return None if security.is_ready() else "waiting for a certificate and for the cluster's trust"

        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(tasks.create_task(security.run()).cancel)
        server = ExternalMetricsServer(
            provider,
            authenticator=security.authenticator,
            authorizer=security.authorizer,
            tls=security.tls,
            host=host,
            port=port,
            readiness={"security": unsecured, "queues": warming},
            metrics=RequestMetrics(registry),
            leave_seconds=_LEAVE_SECONDS,
        )
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise StartError(f"api.address {config.address} cannot be served: {why}") from error
        api = Api(server, (unsecured, warming))
        if alone is not None:
            _introduce(alone, api.address, provider.list_metrics()[0])
        yield api


def on_loopback(host: str) -> str:
    """`host`, if only this machine can reach it; else the loopback address."""
    return host if host in _LOOPBACK else _LOOPBACK[0]


def _delegated(config: ApiConfig, registry: CollectorRegistry, kube: KubeClient) -> "DelegatedSecurity":
    from ottoscaler.apiservice.delegated import DelegatedSecurity

    try:
        return DelegatedSecurity(kube, _certificate(config, kube), registry=registry)
    except CertificateError as error:
        raise StartError(f"api.certificate: {error}") from error


def _certificate(config: ApiConfig, client: KubeClient) -> "OwnCertificate | GivenCertificate":
    from ottoscaler.apiservice.delegated import GivenCertificate, OwnCertificate
    from ottoscaler.apiservice.ownership import ServiceReference

    chosen = config.certificate
    if chosen.files is not None:
        return GivenCertificate(chain=chosen.files.certificate, key=chosen.files.key)
    store: CertificateStore
    if chosen.directory is not None:
        store = DirectoryStore(chosen.directory)
    else:
        store = SecretStore(client, namespace=client.namespace, name=chosen.secret or "")
    host, _ = split_address(config.address)
    return OwnCertificate(
        store=store,
        service=ServiceReference(namespace=client.namespace, name=config.service),
        names=() if host in _ANYWHERE else (host,),
    )


async def _standalone(
    config: ApiConfig, registry: CollectorRegistry, stack: AsyncExitStack
) -> "StandaloneSecurity":
    """A CA that lasts as long as the process, unless the configuration names a directory to keep it in."""
    from ottoscaler.apiservice.standalone import StandaloneSecurity

    directory = config.certificate.directory
    if directory is None:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ottoscaler-")))
    security = StandaloneSecurity(directory, token=os.environ.get(TOKEN_VARIABLE), registry=registry)
    try:
        await security.start()
    except (StoreError, CertificateError) as error:
        raise StartError(f"api.certificate: {error}") from error
    return security


def _introduce(security: "StandaloneSecurity", address: str, metric: str) -> None:
    """Tells the person who started it how to ask; the token is on standard output and in no log."""
    server = f"https://{address}"
    ours = ["ottoscaler", "metrics", "get", metric, "--server", server]
    ours += ["--ca-file", str(security.authority), "--token", security.token]
    url = f"{server}{GROUP_VERSION}/namespaces/default/{metric}"
    header = f"Authorization: Bearer {security.token}"
    curl = ["curl", "--cacert", str(security.authority), "--header", header, url]
    print(f"{shlex.join(ours)}\n{shlex.join(curl)}", flush=True)
