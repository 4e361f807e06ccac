import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice.media_types import JSON, OFFERED, PROTOBUF, YAML, Choice, Transform, negotiate
from tests.unit.apiservice.vectors import section

_DISCOVERY = Transform("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList")
_BETA = Transform("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList")
_BOTH = frozenset([_DISCOVERY, _BETA])


def test_the_choice_is_apiservers_where_apiserver_follows_the_rfc() -> None:
    for case in section("accepts"):
        header = case["header"]
        if any(odd in header for odd in ("q=", "APPLICATION", "stream=watch")):
            continue  # weights out of order, letter case, a parameter of watches: see below
        if header.strip() == "" and header:
            continue  # apiserver: nothing is acceptable to a blank header; here it is as good as none
        choice = negotiate(header)
        assert (choice.media_type if choice else "") == case["type"], header
        if choice:
            assert choice.pretty == case["pretty"], header


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/vnd.kubernetes.protobuf, */*", PROTOBUF),
        ("application/json, */*", JSON),
        ("application/json;q=0.5, application/yaml;q=0.9", YAML),
        ("application/yaml;q=0.2, */*;q=0.9", JSON),
        ("*/*;q=0.9, application/yaml;q=0.2", JSON),
        ("application/json;q=0, */*", YAML),
        ("application/*;q=0.5, application/vnd.kubernetes.protobuf;q=0.4", JSON),
        ("APPLICATION/YAML", YAML),
        ("application/json;stream=watch", JSON),
        ("application/json;q=high", JSON),
        ("application/json;q=NaN", JSON),
        ("application/json;q=0", None),
        ("application/json;q=-1", None),
        ("text/html", None),
        ("text/html, */*;q=0.1", JSON),
        ("garbage", None),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", None),
        ("application/json;as=Table;v=v1;g=meta.k8s.io, application/json", JSON),
    ],
)
def test_quality_then_exactness_then_order(header: str, chosen: str | None) -> None:
    choice = negotiate(header)
    assert (choice.media_type if choice else None) == chosen


def test_the_aggregator_gets_the_newest_discovery_that_it_names() -> None:
    header = (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    )
    choice = negotiate(header, transforms=_BOTH)
    assert choice == Choice(JSON, transform=_DISCOVERY)
    assert choice is not None
    assert choice.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def test_an_unknown_version_of_discovery_is_not_invented() -> None:
    header = "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList"
    assert negotiate(header, transforms=_BOTH) is None
    assert negotiate(header) is None


def test_no_header_asks_for_no_transformation() -> None:
    assert negotiate("", transforms=_BOTH) is None


@given(st.text(alphabet="aplicton/jsyml*;=q.0123456789, vg", max_size=80))
def test_any_header_leads_to_a_type_on_offer_or_to_none(header: str) -> None:
    choice = negotiate(header)
    assert choice is None or choice.media_type in OFFERED
