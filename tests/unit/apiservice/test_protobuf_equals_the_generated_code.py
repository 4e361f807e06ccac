import base64
import json

import pytest

from ottoscaler.apiservice.messages import to_protobuf
from ottoscaler.apiservice.protobuf import varint
from tests.unit.apiservice.vectors import section

_OBJECTS = {case["name"]: case for case in section("objects") if "causes" not in case["json"]}


@pytest.mark.parametrize("name", _OBJECTS)
def test_every_kind_of_document_has_the_bytes_of_gos_marshal(name: str) -> None:
    case = _OBJECTS[name]
    assert to_protobuf(json.loads(case["json"])) == base64.b64decode(case["protobuf"])


@pytest.mark.parametrize(
    ("value", "wire"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\x01")],
)
def test_varints(value: int, wire: bytes) -> None:
    assert varint(value) == wire
