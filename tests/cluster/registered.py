"""Servers that the cluster's aggregator knows, and requests that reach them by way of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ottoscaler.apiservice.certificate_store import SecretStore, Stored
from ottoscaler.apiservice.delegated import OwnCertificate
from ottoscaler.apiservice.outside import ExternalAddress
from ottoscaler.apiservice.ownership import ServiceReference
from ottoscaler.apiservice.registration import register, status, unregister
from ottoscaler.apiservice.renewal import BUNDLE, DEFAULT_POLICY, OwnCertificates, RenewalPolicy
from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster.addresses import NODE_IP
from tests.cluster.extension_server import ExtensionServer, extension_server
from tests.cluster.launcher import Cluster
from tests.cluster.least_privilege import adapter_client
from tests.waiting import until

SECRET = "certificate"


def service_in(namespace: str) -> ServiceReference:
    return ServiceReference(namespace=namespace, name="adapter")


async def stored(kube: KubeClient, namespace: str) -> Stored:
    """What the replicas share."""
    return await SecretStore(kube, namespace=namespace, name=SECRET).load()


async def certificates(kube: KubeClient, namespace: str) -> OwnCertificates:
    return OwnCertificates.decode((await stored(kube, namespace)).parts)


async def available(kube: KubeClient) -> bool:
    return (await status(kube)).available is True


@asynccontextmanager
async def registered(
    kube: KubeClient,
    cluster: Cluster,
    namespace: str,
    directory: Path,
    *,
    policy: RenewalPolicy = DEFAULT_POLICY,
) -> AsyncIterator[ExtensionServer]:
    """A server outside the cluster with its own CA, registered and available; unregistered afterwards."""
    service = service_in(namespace)
    async with adapter_client(kube, cluster, namespace, directory, secret=SECRET) as client:
        store = SecretStore(client, namespace=namespace, name=SECRET)
        own = OwnCertificate(store=store, service=service, policy=policy)
        async with extension_server(client, own, address=NODE_IP) as server:
            outside = ExternalAddress(address=NODE_IP, port=server.port)
            bundle = (await stored(kube, namespace)).parts[BUNDLE]
            await register(kube, service=service, ca_bundle=bundle, external=outside)
            try:
                await until(lambda: available(kube), what="the APIService is available")
                yield server
            finally:
                await unregister(kube, service=service, if_foreign="take")


class Load:
    """Requests without pause through the API server, and how each ended."""

    def __init__(self, client: KubeClient, path: str) -> None:
        self._client = client
        self._path = path
        self.ended: Counter[str] = Counter()

    async def _ask(self) -> None:
        while True:
            try:
                await self._client.get(self._path)
            except KubeError as error:
                self.ended[f"{error.status} {error.message}"] += 1
            else:
                self.ended["well"] += 1

    @asynccontextmanager
    async def running(self, *, at_once: int = 4) -> AsyncIterator[None]:
        """So many at any time."""
        tasks = [asyncio.create_task(self._ask()) for _ in range(at_once)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def further(self, number: int) -> None:
        """Returns when so many more requests have ended."""
        enough = self.ended.total() + number
        await until(lambda: self.ended.total() >= enough, what=f"{number} more requests")
