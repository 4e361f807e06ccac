"""Every certificate between the aggregator and us changes under load, and no request fails.

Contract: external-metrics-api.md, "Who may ask" 1 and "Registration" (certificates).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ottoscaler.apiservice.issuing import BACKDATED
from ottoscaler.apiservice.renewal import RenewalPolicy
from ottoscaler.runtime.kube import KubeClient
from tests.cluster import pki
from tests.cluster.asking import Asker
from tests.cluster.extension_server import BASE, ExtensionServer
from tests.cluster.launcher import Cluster
from tests.cluster.least_privilege import grant, token_of
from tests.cluster.registered import Load, certificates, registered
from tests.waiting import until

pytestmark = pytest.mark.own_cluster

AS_ADMIN = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
TRUST = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@asynccontextmanager
async def load_on(kube: KubeClient, cluster: Cluster, namespace: str, directory: Path) -> AsyncIterator[Load]:
    """Requests of a service account that may read the namespace's metrics."""
    reading = {"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}
    await grant(kube, namespace, "default", [reading])
    file = directory / "reader.kubeconfig"
    token = await token_of(kube, namespace, "default")
    file.write_text(pki.kubeconfig((cluster.pki / "ca.crt").read_bytes(), token))
    async with await KubeClient.connect(file) as client:
        load = Load(client, f"{BASE}/namespaces/{namespace}/queue_demand")
        async with load.running():
            await load.further(50)
            load.ended.clear()  # from here on the caches are warm
            yield load
            await load.further(50)


def anchors_trusted(server: ExtensionServer) -> int:
    proxy = server.security.trust.current().front_proxy
    return len(proxy.anchors) if proxy is not None else 0


async def test_the_front_proxys_ca_rotates_under_load(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    old = pki.Authority.load(cluster.pki, "front-proxy-ca")
    new = pki.Authority.create("front-proxy-ca")
    old_pair = old.issue(pki.FRONT_PROXY_NAME)
    new_pair = new.issue(pki.FRONT_PROXY_NAME)
    new_leaf = x509.load_pem_x509_certificate(new_pair.certificate).public_bytes(Encoding.DER)
    path = f"{BASE}/namespaces/{namespace}/queue_demand"
    async with (
        await KubeClient.connect(kubeconfig) as kube,
        registered(kube, cluster, namespace, tmp_path) as server,
        load_on(kube, cluster, namespace, tmp_path) as load,
        Asker(server.port, old_pair, tmp_path) as asker,
    ):
        assert await asker.status(path, AS_ADMIN) == 200

        # As people are told to do it: trust both, change the client's certificate, trust the new one only.
        (cluster.pki / "front-proxy-ca.crt").write_bytes(old.pem + new.pem)
        await until(lambda: anchors_trusted(server) == 2, what="both CAs are trusted")
        new_pair.write(cluster.pki, pki.FRONT_PROXY_NAME)

        def aggregator_changed() -> bool:
            last = [answer.certificate for answer in server.answered if answer.path == path][-100:]
            return set(last) == {new_leaf}

        await until(aggregator_changed, within=90.0, what="the aggregator shows its new certificate")
        new.write(cluster.pki, "front-proxy-ca")
        assert await asker.status(path, AS_ADMIN) == 200

        # kube-apiserver adds to the published CAs and never removes one that has not expired.
        async def only_new() -> bool:
            await kube.patch(TRUST, {"data": {"requestheader-client-ca-file": new.pem.decode()}})
            return anchors_trusted(server) == 1

        await until(only_new, within=60.0, every=0.5, what="the old CA is no longer published")
        assert await asker.status(path, AS_ADMIN) == 401, "the open connection of the old certificate"
        async with Asker(server.port, old_pair, tmp_path) as late:
            assert await late.status(path, AS_ADMIN) == "refused"
    assert set(load.ended) == {"well"}, load.ended
    assert load.ended.total() > 100


async def test_our_serving_certificate_and_its_ca_rotate_under_load(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    policy = RenewalPolicy(authority_life=24.0, serving_life=7.0, spread=1.5, look_every=0.2)
    authorities: list[x509.Certificate] = []
    leaves: list[x509.Certificate] = []
    async with (
        await KubeClient.connect(kubeconfig) as kube,
        registered(kube, cluster, namespace, tmp_path, policy=policy) as server,
        load_on(kube, cluster, namespace, tmp_path) as load,
    ):

        async def rotated() -> bool:
            held = await certificates(kube, namespace)
            assert held.authority is not None
            assert held.leaf is not None
            if held.authority.certificate not in authorities:
                authorities.append(held.authority.certificate)
            if held.leaf not in leaves:
                leaves.append(held.leaf)
            return len(authorities) > 1 and held.bundle == (authorities[-1],)

        await until(rotated, within=60.0, every=0.1, what="the new CA is the only one")
        assert server.security.tls.certificate is not None
    assert set(load.ended) == {"well"}, load.ended
    assert len(leaves) >= 4
    lives = {
        (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() - BACKDATED for leaf in leaves
    }
    assert max(lives) <= 7.0
