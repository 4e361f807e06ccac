"""Who keeps the serving certificate: what happens when stores fail, replicas collide and files are broken."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.certificate_store import (
    CertificateStore,
    DirectoryStore,
    Stored,
    StoreError,
    Superseded,
)
from ottoscaler.apiservice.certificates import CertificateFiles, OwnCertificateKeeper
from ottoscaler.apiservice.renewal import BUNDLE, OwnCertificates, RenewalPolicy
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import CertificateError, ServingCertificate
from tests.virtual import VirtualClock
from tests.waiting import until

HOUR = 3600.0
LIVES = RenewalPolicy(
    authority_life=730 * HOUR, serving_life=90 * HOUR, spread=0.2 * HOUR, look_every=0.3 * HOUR
)
"""The true lives with an hour for a day: after half a year looptime's clock has no nanoseconds left."""
NAMES = ("adapter.ottoscaler.svc",)


class SharedStore:
    """A Secret without an API server: versions, watchers, outages."""

    def __init__(self) -> None:
        self.parts: Mapping[str, bytes] = {}
        self.version = 0
        self.saved = 0
        self.error: StoreError | None = None
        self._changed = asyncio.Condition()

    async def load(self) -> Stored:
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        return Stored(self.parts, self.version)

    async def save(self, parts: Mapping[str, bytes], version: Any) -> Stored:
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        if version != self.version:
            raise Superseded
        self.saved += 1
        await self.put(parts)
        return Stored(self.parts, self.version)

    async def put(self, parts: Mapping[str, bytes]) -> None:
        """What anybody with the right may do."""
        async with self._changed:
            self.parts, self.version = dict(parts), self.version + 1
            self._changed.notify_all()

    async def changes(self) -> AsyncIterator[None]:
        while True:
            seen = self.version
            async with self._changed:
                await self._changed.wait_for(partial(self._newer_than, seen))
            yield

    def _newer_than(self, version: int) -> bool:
        return self.version != version


class Replica:
    """A keeper and what it made of its server."""

    def __init__(
        self, store: CertificateStore, *, published: Callable[[object], bool] = lambda _: True
    ) -> None:
        self.shown: list[ServingCertificate] = []
        self.bundles: list[bytes] = []
        self.registry = CollectorRegistry()
        self.keeper = OwnCertificateKeeper(
            store,
            names=NAMES,
            sink=self.shown.append,
            metrics=SecurityMetrics(self.registry),
            on_bundle=self.bundles.append,
            published=published,
            policy=LIVES,
            clock=VirtualClock(),
        )

    def failing(self) -> bool:
        return self.registry.get_sample_value("ottoscaler_apiservice_certificate_failing") == 1.0


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(replica.keeper.run()) for replica in replicas]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)


@pytest.mark.looptime
async def test_replicas_agree_for_a_whole_life_of_the_ca_and_no_certificate_ever_ends_in_use() -> None:
    store = SharedStore()
    replicas = [Replica(store) for _ in range(3)]
    clock = VirtualClock()
    async with running(*replicas):
        for _ in range(730):
            await asyncio.sleep(HOUR)
            assert {replica.shown[-1].chain for replica in replicas} == {store.parts["tls.crt"]}
            assert replicas[0].shown[-1].leaf().not_valid_after_utc.timestamp() > clock.time() + 25 * HOUR
    assert [len(replica.shown) for replica in replicas] == [len(replicas[0].shown)] * 3
    assert 10 <= len(replicas[0].shown) <= 14
    assert replicas[0].bundles[0] != replicas[0].bundles[-1], "the CA was succeeded"


@pytest.mark.looptime
async def test_the_bundle_is_told_before_the_certificate_that_it_signs() -> None:
    order: list[str] = []
    replica = Replica(SharedStore())
    replica.keeper._on_bundle = lambda _: order.append("bundle")
    replica.keeper._sink = lambda _: order.append("certificate")
    await replica.keeper.look()
    assert order == ["bundle", "certificate"]


@pytest.mark.looptime
async def test_while_the_store_is_away_the_last_certificate_is_kept_and_it_is_said() -> None:
    store = SharedStore()
    replica = Replica(store)
    async with running(replica):
        await until(lambda: replica.shown)
        store.error = StoreError("Secret ottoscaler/certificate cannot be read: 0 unreachable")
        await asyncio.sleep(61 * HOUR)
        assert replica.failing()
        assert len(replica.shown) == 1
        store.error = None
        await asyncio.sleep(HOUR)
        assert not replica.failing()
        assert len(replica.shown) == 2


@pytest.mark.looptime
async def test_a_store_that_is_away_at_start_is_waited_for() -> None:
    store = SharedStore()
    store.error = StoreError("away")
    replica = Replica(store)
    async with running(replica):
        await asyncio.sleep(100)
        assert not replica.shown
        store.error = None
        await until(lambda: replica.shown, within=HOUR, every=10.0)


@pytest.mark.looptime
async def test_content_that_is_lost_is_written_back_as_it_was() -> None:
    store = SharedStore()
    replica = Replica(store)
    async with running(replica):
        await until(lambda: replica.shown)
        before = store.parts
        await store.put({})
        await until(lambda: store.parts)
        assert store.parts == before
        assert len(replica.shown) == 1


@pytest.mark.looptime
async def test_what_another_replica_stores_is_adopted_at_once() -> None:
    store = SharedStore()
    replica = Replica(store)
    async with running(replica):
        await until(lambda: replica.shown)
        other = SharedStore()
        await Replica(other).keeper.look()
        await store.put(other.parts)
        await until(lambda: len(replica.shown) == 2, within=1.0)
        assert replica.shown[-1].chain == other.parts["tls.crt"]
        assert replica.bundles[-1] == other.parts[BUNDLE]
    assert store.saved == 1


@pytest.mark.looptime
async def test_a_ca_that_the_aggregator_has_not_taken_over_does_not_sign_yet() -> None:
    trusting: list[bool] = [True]
    store = SharedStore()
    replica = Replica(store, published=lambda _: trusting[0])
    async with running(replica):
        await until(lambda: replica.shown)
        trusting[0] = False
        await asyncio.sleep(500 * HOUR)
        held = OwnCertificates.decode(store.parts)
        assert held.signer == held.bundle[-1] != held.bundle[0]
        trusting[0] = True
        await asyncio.sleep(3 * HOUR)
        held = OwnCertificates.decode(store.parts)
        assert held.bundle == (held.signer,)


@pytest.mark.looptime
async def test_when_certificates_end_is_a_metric() -> None:
    replica = Replica(SharedStore())
    await replica.keeper.look()
    leaf = replica.shown[0].leaf()

    def expiry(name: str) -> float | None:
        metric = "ottoscaler_apiservice_certificate_expiry_timestamp_seconds"
        return replica.registry.get_sample_value(metric, {"certificate": name})

    assert expiry("serving") == leaf.not_valid_after_utc.timestamp()
    assert (expiry("ca") or 0) > (expiry("serving") or 0)


async def test_a_directory_keeps_a_certificate_from_start_to_start_and_its_keys_private(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "made" / "here"
    first, second = Replica(DirectoryStore(directory)), Replica(DirectoryStore(directory))
    await first.keeper.look()
    await second.keeper.look()
    assert first.shown == second.shown
    assert sorted(file.name for file in directory.iterdir()) == ["ca.crt", "ca.key", "tls.crt", "tls.key"]
    assert directory.stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in directory.iterdir())


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StoreError, match=r"file.* cannot be (read|written)"):
        await Replica(DirectoryStore(file)).keeper.look()


async def test_a_directory_that_changed_meanwhile_is_read_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    stored = await store.load()
    (tmp_path / "tls.crt").write_bytes(b"other")
    with pytest.raises(Superseded):
        await store.save({"tls.crt": b"mine"}, stored.version)
    assert (tmp_path / "tls.crt").read_bytes() == b"other"


class Given:
    """Files that somebody else keeps, and the server that shows them."""

    def __init__(self, directory: Path) -> None:
        self.chain, self.key = directory / "tls.crt", directory / "tls.key"
        self.shown: list[ServingCertificate] = []
        self.broken = b"broken"
        self.registry = CollectorRegistry()
        self.files = CertificateFiles(
            chain=self.chain,
            key=self.key,
            sink=self._show,
            metrics=SecurityMetrics(self.registry),
            clock=VirtualClock(),
        )

    def _show(self, certificate: ServingCertificate) -> None:
        if certificate.key == self.broken:
            raise CertificateError("the key does not belong to the certificate")
        self.shown.append(certificate)

    def failing(self) -> bool:
        return self.registry.get_sample_value("ottoscaler_apiservice_certificate_failing") == 1.0


@pytest.mark.looptime
async def test_files_that_are_broken_for_a_while_change_nothing_and_are_said(tmp_path: Path) -> None:
    store = SharedStore()
    await Replica(store).keeper.look()
    given = Given(tmp_path)
    given.chain.write_bytes(store.parts["tls.crt"])
    given.key.write_bytes(store.parts["tls.key"])
    given.files.load()
    task = asyncio.create_task(given.files.run())
    await asyncio.sleep(10)
    assert len(given.shown) == 1
    given.key.write_bytes(given.broken)
    await until(given.failing, within=60, every=0.5)
    given.key.unlink()
    await asyncio.sleep(5)
    assert given.failing()
    given.key.write_bytes(store.parts["tls.key"])
    await until(lambda: not given.failing(), within=60, every=0.5)
    assert len(given.shown) == 1
    task.cancel()
    await asyncio.wait([task])
