"""What is fuzzed: one function a border, each taking any bytes and raising only when something is wrong."""

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import yaml

from ottoscaler.apiservice.label_names import key_error, value_error
from ottoscaler.apiservice.media_types import OFFERED, Choice, negotiate
from ottoscaler.apiservice.provider import MetricValue
from ottoscaler.apiservice.quantity import QuantityError, format_milli, parse_quantity
from ottoscaler.apiservice.request_info import TargetError, attributes, parse_target
from ottoscaler.apiservice.response import Response
from ottoscaler.apiservice.selector_grammar import SelectorError, parse_selector
from ottoscaler.apiservice.status import bad_request
from ottoscaler.apiservice.values import metric_values
from tests.fuzz.reading import http_answers, protobuf
from tests.fuzz.serving import Service, converse

Target = Callable[[bytes], None]

_STATUSES = {200, 301, 304, 400, 404, 405, 406, 408, 431}


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


@cache
def _service() -> Service:
    return Service()


def _chunks(data: bytes) -> Iterator[bytes]:
    """Cuts `data` where its own bytes say: 0xFF is a cut and is not sent."""
    yield from data.split(b"\xff")


def http(data: bytes) -> None:
    """A connection: whatever comes, what goes out is a sequence of whole answers, none of them a 500."""
    service = _service()
    wire = _runner().run(converse(service, list(_chunks(data))))
    for status, content_type, body in http_answers(bytes(wire.written), service.methods):
        assert status in _STATUSES, (status, body)
        if body:
            _check_body(status, content_type, body)


def _check_body(status: int, content_type: str, body: bytes) -> None:
    if content_type.startswith("application/json"):
        content = json.loads(body)
    elif content_type == "application/yaml":
        content = yaml.safe_load(body)
    elif content_type.startswith("application/vnd.kubernetes.protobuf"):
        kind, content = protobuf(body)
        assert (kind == "Status") == (status >= 400)
        return
    else:
        assert content_type.startswith("text/plain"), content_type
        return
    assert (content.get("kind") == "Status") == (status >= 400)


def target(data: bytes) -> None:
    """A request that HTTP has nothing against: path, query and Accept as the bytes say."""
    raw, _, accept = data.replace(b"\r", b"").replace(b"\n", b"").partition(b"\x00")
    path = bytes(byte for byte in raw if byte > 0x20 and byte != 0x7F)
    accept = bytes(byte for byte in accept if 0x20 <= byte < 0x7F)
    request = b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\nAccept: " + accept + b"\r\n\r\n"
    http(request.replace(b"\xff", b""))
    text = data.decode(errors="surrogateescape")
    try:
        attributes("GET", parse_target(f"/{text}"))
    except TargetError as error:
        bad_request(str(error)).response(Choice(OFFERED[0]))


def selector(data: bytes) -> None:
    """A label selector: refused, or one whose canonical text means the same."""
    text = data.decode(errors="replace")
    key_error(text)
    value_error("x", text)
    try:
        found = parse_selector(text)
    except SelectorError as error:
        for media_type in OFFERED:
            bad_request(str(error)).response(Choice(media_type))
        return
    again = parse_selector(str(found))
    assert str(again) == str(found)
    for labels in ({}, {"a": "b"}, {"queue": "x", "kind": "y"}):
        assert again.matches(labels) == found.matches(labels)


def quantity(data: bytes) -> None:
    """A quantity: refused, or one whose canonical form reads back as the same number.

    And to itself, but for binary ones that are no whole number of Ki: `62.5Ki` is 64000, which alone is 64k.
    """
    text = data.decode(errors="replace")
    try:
        found = parse_quantity(text)
    except QuantityError:
        return
    again = parse_quantity(str(found))
    assert str(again) == str(found) or "i" in text, (str(again), str(found))
    assert str(parse_quantity(str(again))) == str(again)
    try:
        assert again.milli() == found.milli()
    except QuantityError:
        return


def accept(data: bytes) -> None:
    """An Accept header: something on offer, or nothing."""
    choice = negotiate(data.decode("latin-1"))
    assert choice is None or choice.media_type in OFFERED


def values(data: bytes) -> None:
    """Values in every encoding: other people's decoders read back what went in."""
    parts = data.decode(errors="ignore").split("\n")
    number = int.from_bytes(data[:9], "big") >> 10
    value = MetricValue(
        metric_name=parts[0],
        labels={part: part[::-1] for part in parts[1:9]},
        timestamp=float(number % 2**31),
        value_milli=number,
        window_seconds=number % 2**40 if len(data) % 2 else None,
    )
    encoded = {media_type: metric_values([value], Choice(media_type)) for media_type in OFFERED}
    _check_values(value, encoded)


def _check_values(value: MetricValue, encoded: dict[str, Response]) -> None:
    json_type, yaml_type, protobuf_type = OFFERED
    (item,) = json.loads(encoded[json_type].body)["items"]
    assert item["metricLabels"] == value.labels
    assert parse_quantity(item["value"]).milli() == value.value_milli
    assert item["value"] == format_milli(value.value_milli)
    kind, message = protobuf(encoded[protobuf_type].body)
    (found,) = message.items
    assert kind == "ExternalMetricValueList"
    assert found.metricName == item["metricName"]
    assert {label.key: label.value for label in found.metricLabels} == value.labels
    assert found.value.string == item["value"]
    assert found.timestamp.seconds == int(value.timestamp)
    assert (found.window if found.HasField("window") else None) == item.get("window")
    shown: Any = yaml.safe_load(encoded[yaml_type].body)
    assert shown["items"][0]["value"] == item["value"]


TARGETS: dict[str, Target] = {
    "http": http,
    "target": target,
    "selector": selector,
    "quantity": quantity,
    "accept": accept,
    "values": values,
}

_BASE = b"/apis/external.metrics.k8s.io/v1beta1"
_HEAD = b" HTTP/1.1\r\nHost: a\r\n"

SEEDS: dict[str, tuple[bytes, ...]] = {
    "http": (
        b"GET " + _BASE + _HEAD + b"\r\n",
        b"GET "
        + _BASE
        + b"/namespaces/default/m?labelSelector=queue%3Da"
        + _HEAD
        + b"Accept: application/yaml\r\n\r\n",
        b"GET /apis" + _HEAD + b"Accept: application/vnd.kubernetes.protobuf\r\n\xff\r\n" * 3,
        b"POST /version" + _HEAD + b"Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HEAD /healthz HTTP/1.0\r\n\r\n",
        b"GET /openapi/v2" + _HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00",
    ),
    "target": (
        _BASE[1:] + b"/namespaces/default/m?labelSelector=queue+in+(a,b)\x00application/json;q=0.5, */*",
        b"openapi/v3" + _BASE + b"?hash=A\x00*/*",
        b"apis?x=%zz&&=\x00application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _BASE[1:] + b"/watch/namespaces/a/b",
    ),
    "selector": (b"a in (b,,c),!d,e notin (),f!=g,h>5", b"example.com/a=b", b"a=b,", b"in in (in)"),
    "quantity": (b"1500m", b"-1.5Gi", b"12e6", b"0.1n", b"9Ei", b"1e-10", b"62.5Ki"),
    "accept": (b"application/json;q=0.5;pretty=1, */*;q=0", b"*", b"a/b;as=Table;g=x;v=y"),
    "values": (b"m\nqueue\nkind", b"\x00\x01\x02name\nl\xc3\xa9", b"m\n" + b"\x00" * 200),
}
