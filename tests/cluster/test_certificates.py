"""The Secret that replicas share: filled, agreed on, and restored, with no more rights than the chart gives.

Contract: external-metrics-api.md, "Registration", certificates (a).
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ottoscaler.apiservice.certificate_store import SecretStore, StoreError
from ottoscaler.apiservice.certificates import OwnCertificateKeeper
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import ServerTls
from ottoscaler.runtime.kube import KubeClient
from tests.cluster.launcher import Cluster
from tests.cluster.least_privilege import adapter_client
from tests.cluster.registered import SECRET, certificates, stored
from tests.waiting import until


def keeper(
    client: KubeClient, namespace: str, tls: ServerTls, *, secret: str = SECRET
) -> OwnCertificateKeeper:
    store = SecretStore(client, namespace=namespace, name=secret)
    names = (f"adapter.{namespace}.svc",)
    return OwnCertificateKeeper(store, names=names, sink=tls.use_certificate, metrics=SecurityMetrics())


async def test_replicas_that_start_at_once_agree_on_one_certificate(namespace: str, kubeconfig: Path) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await KubeClient.connect(kubeconfig)) for _ in range(5)]
        replicas = [ServerTls() for _ in clients]
        keepers = [keeper(client, namespace, tls) for client, tls in zip(clients, replicas, strict=True)]
        running = [asyncio.create_task(each.run()) for each in keepers]
        await until(lambda: all(tls.certificate is not None for tls in replicas))
        held = await certificates(clients[0], namespace)
        await until(lambda: all(tls.certificate == held.serving for tls in replicas))
        assert len(held.bundle) == 1
        for task in running:
            task.cancel()
        await asyncio.wait(running)


@pytest.mark.own_cluster
async def test_the_charts_empty_secret_is_filled_with_the_charts_rights(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    async with (
        await KubeClient.connect(kubeconfig) as kube,
        adapter_client(kube, cluster, namespace, tmp_path) as client,
    ):
        tls = ServerTls()
        await keeper(client, namespace, tls).look()
        parts = (await stored(kube, namespace)).parts
        assert set(parts) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
        again = ServerTls()
        await keeper(client, namespace, again).look()
        assert again.certificate == tls.certificate
        with pytest.raises(
            StoreError, match=f"Secret {namespace}/another cannot be read: allow this service account"
        ):
            await keeper(client, namespace, ServerTls(), secret="another").look()


async def test_a_secret_that_loses_its_content_gets_it_back(namespace: str, kubeconfig: Path) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        path = f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"
        tls = ServerTls()
        running = asyncio.create_task(keeper(kube, namespace, tls).run())
        await until(lambda: tls.certificate is not None)
        first = tls.certificate
        await kube.patch(path, {"data": None})
        await until(lambda: _holds(kube, namespace, first))
        await kube.delete(path)
        await until(lambda: _holds(kube, namespace, first))
        assert tls.certificate == first
        running.cancel()
        await asyncio.wait([running])


async def test_a_damaged_part_is_made_anew_without_taking_trust_from_the_rest(
    namespace: str, kubeconfig: Path
) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        tls = ServerTls()
        running = asyncio.create_task(keeper(kube, namespace, tls).run())
        await until(lambda: tls.certificate is not None)
        before = await certificates(kube, namespace)
        path = f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"
        await kube.patch(path, {"data": {"ca.key": "Z2FyYmFnZQ=="}})

        async def succeeded() -> bool:
            return len((await certificates(kube, namespace)).bundle) == 2

        await until(succeeded)
        after = await certificates(kube, namespace)
        assert after.bundle[1] == before.bundle[0]
        assert after.serving == before.serving == tls.certificate
        running.cancel()
        await asyncio.wait([running])


async def _holds(kube: KubeClient, namespace: str, certificate: object) -> bool:
    return (await certificates(kube, namespace)).serving == certificate
