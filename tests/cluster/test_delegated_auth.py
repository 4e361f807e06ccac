"""Who is believed and what they may do, judged by a real API server.

Contract: external-metrics-api.md, "Who may ask".
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ottoscaler.apiservice.certificate_store import SecretStore
from ottoscaler.apiservice.delegated import OwnCertificate
from ottoscaler.apiservice.delegation import ClusterTrust
from ottoscaler.apiservice.ownership import GROUP, ServiceReference
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster import pki
from tests.cluster.addresses import NODE_IP
from tests.cluster.asking import Asker
from tests.cluster.extension_server import BASE, ExtensionServer, extension_server
from tests.cluster.launcher import Cluster
from tests.cluster.least_privilege import adapter_client, bind, grant, token_of
from tests.waiting import until

pytestmark = pytest.mark.own_cluster

AS_ADMIN = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
READ_METRICS = {"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]}


def metric(namespace: str) -> str:
    return f"{BASE}/namespaces/{namespace}/queue_demand"


@asynccontextmanager
async def serving(
    kubeconfig: Path, cluster: Cluster, namespace: str, directory: Path
) -> AsyncIterator[tuple[KubeClient, ExtensionServer]]:
    """The administrator's client, and a server with the rights of the chart's service account."""
    async with (
        await KubeClient.connect(kubeconfig) as kube,
        adapter_client(kube, cluster, namespace, directory) as client,
    ):
        own = OwnCertificate(
            store=SecretStore(client, namespace=namespace, name="certificate"),
            service=ServiceReference(namespace=namespace, name="adapter"),
            keep_ca_bundle=False,
        )
        async with extension_server(client, own, address=NODE_IP) as server:
            yield kube, server


async def test_forged_headers_are_worth_what_the_certificate_under_them_is(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    users, proxies = (pki.Authority.load(cluster.pki, name) for name in ("ca", "front-proxy-ca"))
    cases: dict[str, tuple[pki.Pair | None, int | str]] = {
        "no certificate": (None, 401),
        "a certificate of the cluster CA": (users.issue("jane", groups=("people",)), 403),
        "a certificate of the cluster CA with the proxy's name": (users.issue(pki.FRONT_PROXY_NAME), 403),
        "another CA with the right name": (
            pki.Authority.create("front-proxy-ca").issue(pki.FRONT_PROXY_NAME),
            "refused",
        ),
        "the right CA with a name that is not allowed": (proxies.issue("somebody"), 401),
        "the front proxy": (proxies.issue(pki.FRONT_PROXY_NAME), 200),
    }
    async with serving(kubeconfig, cluster, namespace, tmp_path) as (_, server):
        found = {}
        for case, (pair, _) in cases.items():
            async with Asker(server.port, pair, tmp_path) as asker:
                found[case] = await asker.status(metric(namespace), AS_ADMIN)
    assert found == {case: expected for case, (_, expected) in cases.items()}


async def test_a_certificate_of_the_cluster_ca_is_its_user(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    users = pki.Authority.load(cluster.pki, "ca")
    async with serving(kubeconfig, cluster, namespace, tmp_path) as (_, server):
        async with Asker(server.port, users.issue("root", groups=("system:masters",)), tmp_path) as asker:
            assert await asker.status(metric(namespace)) == 200
        identity = server.answered[-1].identity
    assert identity is not None
    assert identity.user.name == "root"
    assert identity.user.groups == ("system:masters", "system:authenticated")


async def test_a_service_accounts_token_is_reviewed_and_its_rights_are_asked_for(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    async with serving(kubeconfig, cluster, namespace, tmp_path) as (kube, server):
        reader = {"Authorization": f"Bearer {await token_of(kube, namespace, 'default')}"}
        other = {"Authorization": f"Bearer {await token_of(kube, namespace, 'adapter')}"}
        await grant(kube, namespace, "default", [READ_METRICS])
        async with Asker(server.port, None, tmp_path) as asker:
            assert await asker.status(metric(namespace), reader) == 200
            assert await asker.status(metric("kube-system"), reader) == 403
            assert await asker.status(metric(namespace), other) == 403
            assert await asker.status(metric(namespace), {"Authorization": "Bearer nonsense"}) == 401
            assert await asker.status(metric(namespace), {"Authorization": "Basic YTpi"}) == 401
    identity = server.answered[0].identity
    assert identity is not None
    assert identity.method == "token"
    assert identity.user.name == f"system:serviceaccount:{namespace}:default"
    assert "system:serviceaccounts" in identity.user.groups
    assert "authentication.kubernetes.io/credential-id" in dict(identity.user.extra)


async def test_a_right_that_is_granted_counts_within_the_time_that_a_refusal_is_remembered(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    async with serving(kubeconfig, cluster, namespace, tmp_path) as (kube, server):
        token = {"Authorization": f"Bearer {await token_of(kube, namespace, 'default')}"}
        async with Asker(server.port, None, tmp_path) as asker:
            assert await asker.status(metric(namespace), token) == 403
            await grant(kube, namespace, "default", [READ_METRICS])

            async def allowed() -> bool:
                return await asker.status(metric(namespace), token) == 200

            await until(allowed, within=8.0, every=0.3)


async def test_without_the_reviewer_known_answers_live_on_until_they_expire_and_then_there_is_an_error(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    proxy = pki.Authority.load(cluster.pki, "front-proxy-ca").issue(pki.FRONT_PROXY_NAME)
    async with serving(kubeconfig, cluster, namespace, tmp_path) as (kube, server):
        await grant(kube, namespace, "default", [READ_METRICS])
        known = {"X-Remote-User": f"system:serviceaccount:{namespace}:default"}
        async with Asker(server.port, proxy, tmp_path) as asker:
            assert await asker.status(metric(namespace), known) == 200
            async with absent_api_server(cluster, kube):
                assert await asker.status(metric(namespace), known) == 200
                assert await asker.status(metric(namespace), AS_ADMIN) == 200  # needs no review

                async def expired() -> bool:
                    return await asker.status(metric(namespace), known) == 503

                await until(expired, within=25.0, every=0.5)
                assert await asker.status(metric(namespace), {"X-Remote-User": "stranger"}) == 503
                assert await asker.status(metric(namespace), AS_ADMIN) == 200  # the trust is kept

            async def well() -> bool:
                return await asker.status(metric(namespace), known) == 200

            await until(well, within=60.0, every=0.5)
    assert not {answer.status for answer in server.answered} - {200, 503}


@asynccontextmanager
async def absent_api_server(cluster: Cluster, kube: KubeClient) -> AsyncIterator[None]:
    """The API server is dead meanwhile, and has come back afterwards."""

    async def answers() -> bool:
        with contextlib.suppress(KubeError):
            await kube.get("/api/v1/namespaces/kube-system")
            return True
        return False

    await cluster.command("kill", "apiserver")
    try:
        yield
    finally:
        await cluster.command("start", "apiserver")
        await until(answers, within=60.0, every=0.2)
        # Its informers would wait out a backoff of half a minute, and the next test with them.
        await cluster.command("restart", "controller-manager")


@asynccontextmanager
async def changed_trust(kube: KubeClient, **data: str) -> AsyncIterator[None]:
    """The published trust configuration with `data` in it, for a while (`_` for `-` in the keys)."""
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    before = (await kube.get(path))["data"]
    await kube.patch(path, {"data": {key.replace("_", "-"): value for key, value in data.items()}})
    try:
        yield
    finally:
        await kube.patch(path, {"data": before})


async def test_a_broken_trust_configuration_is_refused_and_the_last_good_one_kept(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    proxy = pki.Authority.load(cluster.pki, "front-proxy-ca").issue(pki.FRONT_PROXY_NAME)
    async with (
        serving(kubeconfig, cluster, namespace, tmp_path) as (kube, server),
        Asker(server.port, proxy, tmp_path) as asker,
    ):
        good = server.security.trust.current()
        async with changed_trust(kube, requestheader_allowed_names="front-proxy-client"):
            await until(lambda: server.security.trust.refused is not None)
            assert "requestheader-allowed-names" in str(server.security.trust.refused)
            assert server.security.trust.current() is good
            assert await asker.status(metric(namespace), AS_ADMIN) == 200
        await until(lambda: server.security.trust.refused is None)
        async with changed_trust(kube, requestheader_allowed_names=json.dumps(["somebody"])):

            async def refused() -> bool:
                return await asker.status(metric(namespace), AS_ADMIN) == 401

            await until(refused, what="the connection of before is refused")
        await until(lambda: server.security.trust.current().front_proxy is not None)


async def test_before_rights_are_given_nobody_is_believed_and_afterwards_the_server_recovers_by_itself(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.create(
            f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "powerless"}}
        )
        file = tmp_path / "powerless.kubeconfig"
        token = await token_of(kube, namespace, "powerless")
        file.write_text(pki.kubeconfig((cluster.pki / "ca.crt").read_bytes(), token))
        async with await KubeClient.connect(file) as client:
            trust = ClusterTrust(metrics=SecurityMetrics())
            following = asyncio.create_task(trust.follow(client))
            await until(lambda: trust.refused is not None)
            assert "extension-apiserver-authentication-reader" in str(trust.refused)
            assert not trust.known.is_set()
            path = await bind(
                kube,
                namespace,
                "powerless",
                "Role",
                "extension-apiserver-authentication-reader",
                inside="kube-system",
            )
            await asyncio.wait_for(trust.known.wait(), 20.0)
            await kube.delete(path)
            following.cancel()
            await asyncio.wait([following])
