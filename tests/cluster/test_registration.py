"""The cluster's one APIService: made, owned, kept right and removed.

Contract: external-metrics-api.md, "Registration", and "Who calls" (a namespace's deletion).
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ottoscaler.apiservice.ca_bundle import CaBundleKeeper
from ottoscaler.apiservice.objects import find, remove
from ottoscaler.apiservice.outside import ExternalAddress
from ottoscaler.apiservice.ownership import API_SERVICE, ServiceReference
from ottoscaler.apiservice.registration import (
    API_SERVICES,
    ForeignOwner,
    RegistrationError,
    api_service,
    register,
    status,
    unregister,
)
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.runtime.kube import KubeClient
from tests.cluster.addresses import NODE_IP
from tests.cluster.conftest import Kubectl
from tests.cluster.extension_server import BASE
from tests.cluster.launcher import Cluster
from tests.cluster.registered import registered, service_in
from tests.component.apiservice.authorities import authority
from tests.waiting import until

PATH = f"{API_SERVICES}/{API_SERVICE}"
BUNDLE = authority("one").chain_pem
OTHER_BUNDLE = authority("two").chain_pem
KEDA = {
    "metadata": {
        "labels": {
            "app.kubernetes.io/name": "v1beta1.external.metrics.k8s.io",
            "app.kubernetes.io/part-of": "keda-operator",
        },
        "annotations": {"meta.helm.sh/release-name": "keda", "meta.helm.sh/release-namespace": "keda"},
    },
}


@asynccontextmanager
async def administrator(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    """A client that leaves no APIService behind."""
    async with await KubeClient.connect(kubeconfig) as kube:
        await remove(kube, PATH)
        try:
            yield kube
        finally:
            await remove(kube, PATH)


async def foreign(kube: KubeClient, namespace: str, *, exists: bool) -> None:
    """KEDA's registration, with or without the Service that it leads to."""
    service = ServiceReference(namespace=namespace, name="keda-operator-metrics-apiserver")
    await kube.create(
        API_SERVICES,
        api_service(service, ca_bundle=BUNDLE) | {"metadata": {"name": API_SERVICE, **KEDA["metadata"]}},
    )
    if exists:
        spec = {"ports": [{"port": 443}]}
        services = f"/api/v1/namespaces/{namespace}/services"
        await kube.create(services, {"metadata": {"name": service.name}, "spec": spec})


@pytest.mark.own_cluster
async def test_an_adapter_outside_the_cluster_is_registered_asked_and_unregistered(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path, kubectl: Kubectl
) -> None:
    async with administrator(kubeconfig) as kube:
        async with registered(kube, cluster, namespace, tmp_path):
            found = await status(kube)
            assert (found.registered, found.available, found.verifies) == (True, True, True)
            assert found.owner is not None
            assert found.owner.service == service_in(namespace)
            raw = await asyncio.to_thread(
                kubectl, "get", "--raw", f"{BASE}/namespaces/{namespace}/queue_demand"
            )
            assert json.loads(raw)["items"][0]["value"] == "3"
            resources = await asyncio.to_thread(kubectl, "api-resources")
            assert "external.metrics.k8s.io/v1beta1" in resources
            assert "error" not in resources.lower()
            spec = (await kube.get(PATH))["spec"]
            assert (spec["groupPriorityMinimum"], spec["versionPriority"]) == (100, 100)
            assert "insecureSkipTLSVerify" not in spec
        assert not (await status(kube)).registered
        for collection in ("/api/v1", "/apis/discovery.k8s.io/v1"):
            kind = "services" if collection == "/api/v1" else "endpointslices"
            left = await kube.get(f"{collection}/namespaces/{namespace}/{kind}")
            assert left["items"] == []


async def test_registering_again_changes_what_changed_and_unregistering_again_is_no_error(
    namespace: str, kubeconfig: Path
) -> None:
    service = service_in(namespace)
    async with administrator(kubeconfig) as kube:
        for address, bundle in (("10.1.2.3", BUNDLE), ("10.1.2.4", OTHER_BUNDLE), ("fd00::5", BUNDLE)):
            outside = ExternalAddress(address=address, port=6443)
            await register(kube, service=service, ca_bundle=bundle, external=outside)
            endpoints = await kube.get(
                f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{service.name}"
            )
            assert endpoints["endpoints"][0]["addresses"] == [address]
            assert base64.b64decode((await kube.get(PATH))["spec"]["caBundle"]) == bundle
        assert await unregister(kube, service=service) is True
        assert await unregister(kube, service=service) is False


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.1.1", "0.0.0.0", "adapter.example.com"])
async def test_an_address_that_the_api_server_cannot_reach_is_refused(
    address: str, namespace: str, kubeconfig: Path
) -> None:
    async with administrator(kubeconfig) as kube:
        with pytest.raises(RegistrationError, match="address"):
            outside = ExternalAddress(address=address, port=6443)
            await register(kube, service=service_in(namespace), ca_bundle=BUNDLE, external=outside)
        assert await find(kube, PATH) is None


async def test_without_a_ca_bundle_nothing_is_registered(namespace: str, kubeconfig: Path) -> None:
    async with administrator(kubeconfig) as kube:
        with pytest.raises(RegistrationError, match="no CA bundle"):
            await register(kube, service=service_in(namespace), ca_bundle=b"")
        assert await find(kube, PATH) is None


async def test_another_products_registration_is_refused_by_name_and_left_as_it_was(
    namespace: str, kubeconfig: Path
) -> None:
    async with administrator(kubeconfig) as kube:
        await foreign(kube, namespace, exists=True)
        before = await kube.get(PATH)
        with pytest.raises(ForeignOwner) as refused:
            await register(kube, service=service_in(namespace), ca_bundle=OTHER_BUNDLE)
        message = str(refused.value)
        assert message.startswith(f"{API_SERVICE} belongs to KEDA (Service {namespace}/keda-operator-metrics")
        assert "Helm release keda/keda" in message
        assert "uninstall" in message
        assert "\n" not in message
        with pytest.raises(ForeignOwner):
            await unregister(kube, service=service_in(namespace))
        after = await kube.get(PATH)
        assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
        found = await status(kube)
        assert found.owner is not None
        assert (found.owner.product, found.service_exists) == ("KEDA", True)


async def test_a_registration_that_was_left_over_is_called_that(namespace: str, kubeconfig: Path) -> None:
    async with administrator(kubeconfig) as kube:
        await foreign(kube, namespace, exists=False)
        with pytest.raises(ForeignOwner, match="left over"):
            await register(kube, service=service_in(namespace), ca_bundle=BUNDLE)
        assert (await status(kube)).service_exists is False


async def test_force_takes_it(namespace: str, kubeconfig: Path) -> None:
    service = service_in(namespace)
    async with administrator(kubeconfig) as kube:
        await foreign(kube, namespace, exists=True)
        await register(kube, service=service, ca_bundle=OTHER_BUNDLE, if_foreign="take")
        found = await status(kube)
        assert found.owner is not None
        assert found.owner.service == service
        assert await unregister(kube, service=service)


async def test_a_service_that_somebody_else_made_is_not_taken_for_the_way_out(
    namespace: str, kubeconfig: Path
) -> None:
    async with administrator(kubeconfig) as kube:
        services = f"/api/v1/namespaces/{namespace}/services"
        body = {"metadata": {"name": "adapter"}, "spec": {"ports": [{"port": 443}], "selector": {"app": "x"}}}
        await kube.create(services, body)
        outside = ExternalAddress(address=NODE_IP, port=6443)
        with pytest.raises(RegistrationError, match="choose another name"):
            await register(kube, service=service_in(namespace), ca_bundle=BUNDLE, external=outside)
        assert await find(kube, PATH) is None
        assert await unregister(kube, service=service_in(namespace)) is False
        assert (await kube.get(f"{services}/adapter"))["spec"]["selector"] == {"app": "x"}


@asynccontextmanager
async def keeping(
    kube: KubeClient, service: ServiceReference, bundle: bytes
) -> AsyncIterator[CaBundleKeeper]:
    keeper = CaBundleKeeper(kube, service=service, metrics=SecurityMetrics())
    keeper.want(bundle)
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        running.cancel()
        await asyncio.wait([running])


def charted(service: ServiceReference, **spec: Any) -> dict[str, Any]:
    """The APIService as the chart has it: without a caBundle."""
    wanted = api_service(service, ca_bundle=b"")
    del wanted["spec"]["caBundle"], wanted["spec"]["insecureSkipTLSVerify"]
    wanted["spec"] |= spec
    return wanted


async def test_the_charts_registration_gets_its_ca_bundle_and_helm_may_apply_it_again(
    namespace: str, kubeconfig: Path
) -> None:
    service = service_in(namespace)
    helm = {"fieldManager": "helm"}
    async with administrator(kubeconfig) as kube:

        async def kept() -> bytes:
            return base64.b64decode((await kube.get(PATH))["spec"].get("caBundle") or "")

        async with keeping(kube, service, BUNDLE) as keeper:
            await kube.patch(PATH, charted(service), kind="apply", params=helm)
            await until(lambda: _is(kept, BUNDLE))
            # Helm 4 upgrades by server-side apply without force: a field that two want is a conflict.
            await kube.patch(PATH, charted(service, versionPriority=99), kind="apply", params=helm)
            assert await kept() == BUNDLE
            await kube.patch(PATH, {"spec": {"caBundle": base64.b64encode(OTHER_BUNDLE).decode()}})
            await until(lambda: _is(kept, BUNDLE))
            await kube.patch(PATH, {"spec": {"caBundle": None}})
            await until(lambda: _is(kept, BUNDLE))
            keeper.want(OTHER_BUNDLE)
            await until(lambda: _is(kept, OTHER_BUNDLE))
            await remove(kube, PATH)
            await kube.patch(PATH, charted(service), kind="apply", params=helm)
            await until(lambda: _is(kept, OTHER_BUNDLE))
            assert (await kube.get(PATH))["spec"]["versionPriority"] == 100


async def test_the_keeper_leaves_another_products_registration_alone(
    namespace: str, kubeconfig: Path
) -> None:
    async with administrator(kubeconfig) as kube:
        await foreign(kube, namespace, exists=True)
        before = await kube.get(PATH)
        async with keeping(kube, service_in(namespace), OTHER_BUNDLE) as keeper:
            await until(lambda: keeper.failing is not None)
            assert "KEDA" in str(keeper.failing)
            # It still looks: what becomes ours is kept right.
            await remove(kube, PATH)
            await kube.create(API_SERVICES, charted(service_in(namespace)))
            await until(lambda: keeper.failing is None)
        assert (await kube.get(PATH))["metadata"]["uid"] != before["metadata"]["uid"]


@pytest.mark.own_cluster
async def test_namespaces_go_while_the_api_is_registered_and_while_nobody_is_behind_it_any_more(
    namespace: str, kubeconfig: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """Every deletion of a namespace asks for every API's resources; an unavailable one holds it up."""
    async with administrator(kubeconfig) as kube:

        async def gone(name: str) -> bool:
            return await find(kube, f"/api/v1/namespaces/{name}") is None

        async with registered(kube, cluster, namespace, tmp_path):
            await kube.create("/api/v1/namespaces", {"metadata": {"name": f"{namespace}-during"}})
            await kube.delete(f"/api/v1/namespaces/{namespace}-during")
            await until(lambda: gone(f"{namespace}-during"), within=60.0, every=0.2)
        await kube.create("/api/v1/namespaces", {"metadata": {"name": f"{namespace}-after"}})
        await kube.delete(f"/api/v1/namespaces/{namespace}-after")
        await until(lambda: gone(f"{namespace}-after"), within=60.0, every=0.2)


async def _is(read: Any, expected: bytes) -> bool:
    return bool(await read() == expected)
