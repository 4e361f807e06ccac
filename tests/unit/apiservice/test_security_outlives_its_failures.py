"""`DelegatedSecurity` as a whole: what it needs to be ready, and what a failing part does to the rest."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.certificate_store import DirectoryStore
from ottoscaler.apiservice.delegated import DelegatedSecurity, GivenCertificate, OwnCertificate
from ottoscaler.apiservice.issuing import names_of
from ottoscaler.apiservice.ownership import ServiceReference
from ottoscaler.apiservice.tls import CertificateError
from ottoscaler.runtime.kube import KubeClient, WatchEvent
from tests.component.apiservice.authorities import authority, configmap_data
from tests.virtual import VirtualClock
from tests.waiting import until

CONFIGMAP = {"data": configmap_data(front_proxy=(authority("front-proxy-ca"),), clients=(authority("ca"),))}
SERVICE = ServiceReference(namespace="queues", name="adapter")


class Cluster:
    """An API server with one ConfigMap; its watch fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.watches = 0

    async def get(self, _path: str) -> Any:
        return CONFIGMAP

    async def watch(self, _path: str, _params: Any) -> AsyncIterator[WatchEvent]:
        self.watches += 1
        if self.watches <= self.failures:
            raise RuntimeError("a fault of ours")
        yield WatchEvent("SYNC", [CONFIGMAP])
        await asyncio.Event().wait()


def security(cluster: Cluster, directory: Path) -> DelegatedSecurity:
    own = OwnCertificate(
        store=DirectoryStore(directory, clock=VirtualClock()),
        service=SERVICE,
        names=("10.1.2.3",),
        keep_ca_bundle=False,
    )
    client = cast("KubeClient", cluster)
    return DelegatedSecurity(client, own, registry=CollectorRegistry(), clock=VirtualClock())


@pytest.mark.looptime
async def test_it_is_ready_with_a_certificate_and_with_trust_and_ends_without_leftovers(
    tmp_path: Path,
) -> None:
    secured = security(Cluster(), tmp_path)
    assert not secured.is_ready()
    running = asyncio.create_task(secured.run())
    await secured.ready()
    assert secured.is_ready()
    assert secured.tls.certificate is not None
    names = {"adapter.queues.svc", "adapter.queues", "adapter", "10.1.2.3"}
    assert names_of(secured.tls.certificate.leaf()) == names
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


@pytest.mark.looptime
async def test_a_part_that_fails_is_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    cluster = Cluster(failures=3)
    secured = security(cluster, tmp_path)
    running = asyncio.create_task(secured.run())
    await until(lambda: cluster.watches == 4, within=60, every=0.5)
    await asyncio.sleep(60)
    assert cluster.watches == 4
    assert secured.is_ready()
    running.cancel()
    await asyncio.wait([running])


async def test_files_that_cannot_serve_are_said_at_start(tmp_path: Path) -> None:
    given = GivenCertificate(chain=tmp_path / "tls.crt", key=tmp_path / "tls.key")
    with pytest.raises(CertificateError, match=r"tls\.crt cannot be read"):
        DelegatedSecurity(cast("KubeClient", Cluster()), given, registry=CollectorRegistry())
