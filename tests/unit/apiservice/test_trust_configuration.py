"""The published trust configuration: taken whole or refused with the key that is wrong.

Contract: external-metrics-api.md, "Who may ask", item 1.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.delegation import ClusterTrust
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.trust import Trust, TrustError, ambiguous_names, anchor_of, read_trust
from ottoscaler.runtime.kube import KubeError, WatchEvent
from tests.component.apiservice.authorities import authority, configmap_data, new_key

FRONT, CLUSTER = authority("front-proxy-ca"), authority("kubernetes")
GOOD = configmap_data(front_proxy=(FRONT,), clients=(CLUSTER,))


def test_a_configuration_as_kube_apiserver_writes_it() -> None:
    trust = read_trust(GOOD)
    assert trust.front_proxy is not None
    assert trust.front_proxy.allows("front-proxy-client")
    assert not trust.front_proxy.allows("kubelet")
    assert trust.front_proxy.headers.extra_prefixes == ("X-Remote-Extra-",)
    assert trust.authorities == (FRONT.certificate, CLUSTER.certificate)
    assert trust.client_anchors.isdisjoint(trust.front_proxy.anchors)


def test_an_empty_list_of_names_allows_any() -> None:
    trust = read_trust({**GOOD, "requestheader-allowed-names": "[]"})
    assert trust.front_proxy is not None
    assert trust.front_proxy.allows("")


def test_a_cluster_without_a_front_proxy_or_without_client_certificates_is_possible() -> None:
    assert read_trust(configmap_data(clients=(CLUSTER,))).front_proxy is None
    assert read_trust(configmap_data(front_proxy=(FRONT,))).client_anchors == frozenset()


def test_uid_headers_are_absent_in_older_clusters() -> None:
    data = {key: value for key, value in GOOD.items() if "uid" not in key}
    trust = read_trust(data)
    assert trust.front_proxy is not None
    assert trust.front_proxy.headers.uid == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("client-ca-file", "garbage"),
        ("client-ca-file", FRONT.pem + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("requestheader-client-ca-file", FRONT.pem[:-40]),
        ("requestheader-allowed-names", "front-proxy-client"),
        ("requestheader-allowed-names", '{"a": 1}'),
        ("requestheader-allowed-names", "[1]"),
        ("requestheader-allowed-names", None),
        ("requestheader-username-headers", "[]"),
        ("requestheader-username-headers", None),
        ("requestheader-username-headers", '["X Remote User"]'),
        ("requestheader-group-headers", '["X-Remote-Group\\n"]'),
        ("requestheader-extra-headers-prefix", '[""]'),
    ],
)
def test_what_is_broken_is_refused_and_named(key: str, value: str | None) -> None:
    data = {name: text for name, text in {**GOOD, key: value}.items() if text is not None}
    with pytest.raises(TrustError, match=key):
        read_trust(data)


def test_nothing_at_all_is_no_configuration() -> None:
    with pytest.raises(TrustError, match="neither"):
        read_trust({})


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), st.text() | st.sampled_from(sorted(GOOD.values()))))
def test_any_content_is_read_or_refused(data: dict[str, str]) -> None:
    try:
        trust = read_trust(data)
    except TrustError:
        return
    assert trust.authorities
    assert trust.front_proxy is None or trust.front_proxy.headers.username


def test_two_keys_under_one_name_are_pointed_out_and_a_renewed_ca_is_not() -> None:
    key = new_key()
    renewed = (authority("same", key=key), authority("same", key=key))
    assert ambiguous_names(ca.certificate for ca in renewed) == ()
    assert ambiguous_names((FRONT.certificate, authority("front-proxy-ca").certificate)) == (
        "CN=front-proxy-ca",
    )


def test_an_anchor_is_a_name_and_a_key_and_nothing_else() -> None:
    key = new_key()
    first = anchor_of(authority("one", key=key).certificate)
    assert anchor_of(authority("one", key=key).certificate) == first, "renewed"
    assert anchor_of(authority("one").certificate) != first, "another key"
    assert anchor_of(authority("two", key=key).certificate) != first, "another name"


class Published:
    """An API server's side of one ConfigMap."""

    def __init__(self, *events: WatchEvent, get: Any = None) -> None:
        self._events = events
        self._get = get

    async def get(self, _path: str) -> Any:
        if self._get is None:
            raise KubeError(status=404, reason="NotFound", message="not found")
        if isinstance(self._get, Exception):
            raise self._get
        return self._get

    async def watch(self, _path: str, _params: Mapping[str, str]) -> AsyncIterator[WatchEvent]:
        for event in self._events:
            yield event


class Followed:
    """A `ClusterTrust` and what it said."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.changes: list[Trust] = []
        self.trust = ClusterTrust(metrics=SecurityMetrics(self.registry), on_change=self.changes.append)

    def says_refused(self) -> bool:
        return self.registry.get_sample_value("ottoscaler_apiservice_trust_refused") == 1.0


def test_a_broken_update_is_refused_the_good_one_kept_and_taking_it_back_is_noticed() -> None:
    followed = Followed()
    followed.trust.update({"data": GOOD})
    good = followed.trust.current()
    followed.trust.update({"data": {**GOOD, "requestheader-allowed-names": "?"}})
    assert followed.trust.current() is good
    assert followed.says_refused()
    assert "requestheader-allowed-names" in str(followed.trust.refused)
    followed.trust.update({"data": GOOD})
    assert followed.trust.current() is good
    assert not followed.says_refused()
    assert followed.changes == [good]


def test_an_update_that_changes_nothing_keeps_the_generation_and_its_caches() -> None:
    followed = Followed()
    followed.trust.update({"data": GOOD})
    good = followed.trust.current()
    followed.trust.update({"data": dict(GOOD), "metadata": {"resourceVersion": "2"}})
    assert followed.trust.current() is good
    followed.trust.update({"data": {**GOOD, "requestheader-allowed-names": "[]"}})
    assert followed.trust.current() is not good


async def test_a_configmap_that_goes_leaves_the_last_good_configuration() -> None:
    followed = Followed()
    configmap = {"data": GOOD}
    await followed.trust.follow(
        Published(WatchEvent("SYNC", [configmap]), WatchEvent("DELETED", configmap), WatchEvent("SYNC", []))
    )
    assert followed.trust.current().front_proxy is not None
    assert followed.says_refused()
    assert followed.trust.known.is_set()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            KubeError(status=403, reason="Forbidden", message="no"),
            "extension-apiserver-authentication-reader",
        ),
        (KubeError(status=0, reason="Unreachable", message="no route"), "waiting"),
        (None, "waiting"),
    ],
)
async def test_before_the_first_configuration_people_are_told_what_to_do(
    error: KubeError | None, remedy: str
) -> None:
    followed = Followed()
    await followed.trust.follow(Published(get=error))
    assert remedy in str(followed.trust.refused)
    assert not followed.trust.known.is_set()
    assert followed.trust.current().authorities == ()


async def test_it_is_known_from_the_first_read_on() -> None:
    followed = Followed()
    following = asyncio.create_task(followed.trust.follow(Published(get={"data": GOOD})))
    await asyncio.wait_for(followed.trust.known.wait(), 5)
    await following
