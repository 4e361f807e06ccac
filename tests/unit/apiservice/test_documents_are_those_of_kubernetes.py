"""Contents of discovery, OpenAPI, Status and value lists against what the Go types print.

Contract: external-metrics-api.md, "Who calls, and how", "What the HPA does with an answer", "Answers".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice import discovery, openapi, status
from ottoscaler.apiservice.block_yaml import to_yaml
from ottoscaler.apiservice.endpoints import Inventory
from ottoscaler.apiservice.identity import Attributes, User
from ottoscaler.apiservice.media_types import JSON, PROTOBUF, YAML, Choice
from ottoscaler.apiservice.provider import MetricValue, MetricValueList
from ottoscaler.apiservice.request_info import Target
from ottoscaler.apiservice.response import Document
from ottoscaler.apiservice.selector import Selector
from ottoscaler.apiservice.values import metric_values
from tests.unit.apiservice.vectors import section

_NAMES = ("queue_demand", "queue_waiting")
_OBJECTS = {case["name"]: case for case in section("objects")}


def _go(name: str) -> Any:
    return json.loads(_OBJECTS[name]["json"])


def _shown(document: Document) -> Any:
    """As JSON shows it, after checking that YAML says the same."""
    content = json.loads(document.response(Choice(JSON)).body)
    assert yaml.safe_load(document.response(Choice(YAML)).body) == content
    assert json.loads(document.response(Choice(JSON, pretty=True)).body) == content
    return content


def test_discovery_of_groups_and_resources() -> None:
    assert _shown(discovery.GROUP_LIST) == _go("group-list")
    assert _shown(discovery.GROUP_DOCUMENT) == _go("group")
    assert _shown(discovery.resource_list(_NAMES)) == _go("resource-list")


@pytest.mark.parametrize(
    ("form", "name"),
    [(discovery.DISCOVERY_V2, "discovery-v2"), (discovery.DISCOVERY_V2BETA1, "discovery-v2beta1")],
)
def test_aggregated_discovery(form: Any, name: str) -> None:
    document, _ = discovery.aggregated(_NAMES[:1], form)
    assert _shown(document) == _go(name)


_METRIC = Attributes(
    verb="list", path="/x", resource="queue_demand", group=discovery.GROUP, version="v1beta1", namespace="ns"
)


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (status.UNAUTHORIZED, "unauthorized"),
        (status.bad_request("unable to parse requirement: found '', expected: identifier"), "bad-request"),
        (status.metric_unavailable('queue "a" was not read'), "unavailable"),
    ],
)
def test_statuses(document: Document, name: str) -> None:
    assert _shown(document) == _go(f"status-{name}")


@pytest.mark.parametrize(
    ("attributes", "message", "details"),
    [
        (
            _METRIC,
            (
                'queue_demand.external.metrics.k8s.io is forbidden: User "x" cannot list resource "queue_demand" '
                'in API group "external.metrics.k8s.io" in the namespace "ns"'
            ),
            {"group": discovery.GROUP, "kind": "queue_demand"},
        ),
        (
            Attributes(
                verb="get", path="/x", resource="m", group="g", version="v", name="n", subresource="s"
            ),
            'm.g "n" is forbidden: User "x" cannot get resource "m/s" in API group "g" at the cluster scope',
            {"name": "n", "group": "g", "kind": "m"},
        ),
        (Attributes(verb="get", path="/apis"), 'forbidden: User "x" cannot get path "/apis"', {}),
    ],
)
def test_refusals_are_worded_as_kubernetes_words_them(
    attributes: Attributes, message: str, details: Mapping[str, str]
) -> None:
    content = _shown(status.forbidden(User("x"), attributes, ""))
    assert content["message"] == message
    assert content["details"] == details
    assert (content["reason"], content["code"]) == ("Forbidden", 403)
    because = _shown(status.forbidden(User("x"), attributes, "RBAC says no"))
    assert because["message"] == f"{message}: RBAC says no"


def test_a_refusal_quotes_nothing_that_a_browser_would_run() -> None:
    content = _shown(status.forbidden(User("<b>&"), Attributes(verb="get", path='/"<i>'), ""))
    assert content["message"] == 'forbidden: User "&lt;b&gt;&amp;" cannot get path "/\\"&lt;i&gt;"'


def _value(labels: Mapping[str, str], milli: int, window: int | None = None) -> MetricValue:
    return MetricValue(
        metric_name="queue_demand",
        labels=labels,
        timestamp=1_795_261_793.7,
        value_milli=milli,
        window_seconds=window,
    )


def test_values_are_canonical_quantities_with_the_time_of_measurement() -> None:
    one = metric_values([_value({"queue": "generator", "kind": "redis-stream"}, 5000)], Choice(JSON))
    assert one.body == _OBJECTS["list-one"]["json"].encode()
    many = [
        _value({"queue": "a", "b": "é<&>", "a": ""}, 1500, 60),
        _value({}, 0, 0),
        _value({"queue": "long" * 60}, 12_345_678_901_000),
    ]
    assert json.loads(metric_values(many, Choice(JSON)).body) == _go("list-many")
    assert yaml.safe_load(metric_values(many, Choice(YAML)).body) == _go("list-many")
    assert yaml.safe_load(_OBJECTS["list-many"]["yaml"]) == _go("list-many")


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


@pytest.mark.parametrize("build", [openapi.v2, openapi.v3])
def test_openapi_describes_every_metric_and_refers_to_nothing_absent(build: Any) -> None:
    content = json.loads(build(_NAMES))
    for name in _NAMES:
        path = content["paths"][f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{{namespace}}/{name}"]
        assert path["get"]["x-kubernetes-group-version-kind"]["kind"] == "ExternalMetricValueList"
    operations = [path["get"]["operationId"] for path in content["paths"].values()]
    assert len(set(operations)) == len(operations)
    for reference in _references(content):
        node = content
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node["type"] == "object"


class _Names:
    def __init__(self) -> None:
        self.names: tuple[str, ...] = _NAMES

    def list_metrics(self) -> tuple[str, ...]:
        return self.names

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        raise AssertionError


def _headers(**fields: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()}))


def test_documents_follow_the_list_of_metrics_and_say_when_nothing_changed() -> None:
    provider = _Names()
    inventory = Inventory(provider)
    apis = Target("/apis", {})
    wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    first = inventory.groups(_headers(Accept=wanted), apis)
    tag = first.head.decode().partition("ETag: ")[2].partition("\r\n")[0]
    assert inventory.groups(_headers(Accept=wanted, If_None_Match=tag), apis).status == 304
    assert inventory.groups(_headers(Accept=wanted, If_None_Match=f"W/{tag}, x"), apis).status == 304
    provider.names = ("queue_demand",)
    changed = inventory.groups(_headers(Accept=wanted, If_None_Match=tag), apis)
    assert changed.status == 200
    assert changed.body != first.body
    assert b"queue_waiting" not in inventory.resources(_headers(), Target("/", {})).body


def test_the_openapi_index_leads_to_the_document_that_it_names() -> None:
    inventory = Inventory(_Names())
    index = json.loads(inventory.openapi(_headers(), Target("/openapi/v3", {})).body)
    (url,) = (entry["serverRelativeURL"] for entry in index["paths"].values())
    path, _, query = url.partition("?hash=")
    found = inventory.openapi(_headers(), Target(path, {"hash": (query,)}))
    assert found.status == 200
    assert json.loads(found.body)["openapi"] == "3.0.0"
    stale = inventory.openapi(_headers(), Target(path, {"hash": ("OLD",)}))
    assert stale.status == 301
    assert f"Location: {url}".encode() in stale.head
    unchanged = inventory.openapi(_headers(If_None_Match=f'"{query}"'), Target(path, {}))
    assert (unchanged.status, unchanged.body) == (304, b"")


def test_a_type_that_was_encoded_once_is_not_encoded_again() -> None:
    assert discovery.GROUP_LIST.response(Choice(PROTOBUF)) is discovery.GROUP_LIST.response(Choice(PROTOBUF))


def test_neither_an_empty_answer_nor_a_negative_value_can_be_given() -> None:
    with pytest.raises(ValueError, match="without a value"):
        MetricValueList([])
    with pytest.raises(ValueError, match="negative"):
        _value({}, -1)


_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "yes",
            "No",
            "null",
            "~",
            "1",
            "1e3",
            "0x1",
            "2026-11-21",
            "a: b",
            "- a",
            "#",
            "a #b",
            "",
            "x:",
            "é",
            "k" * 1100,
            "\x00" * 200,
        ]
    ),
)
_JSON = st.recursive(
    st.one_of(_TEXTS, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(_TEXTS, _JSON, min_size=1, max_size=4))
def test_any_object_reads_back_from_its_yaml(content: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(content)) == content


def test_yaml_is_laid_out_as_kubernetes_lays_it_out() -> None:
    for name in ("list-one", "group-list", "status-unavailable", "discovery-v2"):
        ours, theirs = to_yaml(_go(name)).decode(), _OBJECTS[name]["yaml"]
        assert [line.split(":")[0] for line in ours.splitlines()] == [
            line.split(":")[0] for line in theirs.splitlines()
        ]
