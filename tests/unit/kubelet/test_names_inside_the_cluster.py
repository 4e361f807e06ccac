"""What the cluster's DNS answers, and that nothing sent to it can break it."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.kubelet.dns import Answer, Endpoint, Zone, respond

SERVICES: dict[tuple[str, str], dict[str, Any]] = {
    ("default", "web"): {"clusterIP": "10.96.0.7", "selector": {"app": "web"}},
    ("default", "db"): {"clusterIP": "None", "selector": {"app": "db"}},
    ("default", "early"): {"clusterIP": "None", "selector": {"app": "db"}, "publishNotReadyAddresses": True},
    ("default", "out"): {"type": "ExternalName", "externalName": "example.org"},
}
PODS = [
    Endpoint(address="10.244.0.5", hostname="db-0", ready=True),
    Endpoint(address="10.244.0.6", hostname=None, ready=True),
    Endpoint(address="10.244.0.7", hostname="db-1", ready=False),
]


class KnownServices:
    def find(self, namespace: str, name: str) -> dict[str, Any] | None:
        spec = SERVICES.get((namespace, name))
        return None if spec is None else {"spec": spec}


ZONE = Zone(KnownServices(), lambda _namespace, _selector: PODS, domain="cluster.local")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.default.svc.cluster.local", Answer(("10.96.0.7",))),
        ("WEB.Default.svc.cluster.LOCAL.", Answer(("10.96.0.7",))),
        ("db.default.svc.cluster.local", Answer(("10.244.0.5", "10.244.0.6"))),
        ("early.default.svc.cluster.local", Answer(("10.244.0.5", "10.244.0.6", "10.244.0.7"))),
        ("db-0.db.default.svc.cluster.local", Answer(("10.244.0.5",))),
        ("db-1.db.default.svc.cluster.local", None),
        ("db-0.web.default.svc.cluster.local", None),
        ("out.default.svc.cluster.local", Answer(alias="example.org")),
        ("10-244-0-5.default.pod.cluster.local", Answer(("10.244.0.5",))),
        ("web.other.svc.cluster.local", None),
        ("web", None),
        ("example.org", None),
        ("", None),
    ],
)
def test_each_name(name: str, expected: Answer | None) -> None:
    assert ZONE.resolve(name) == expected


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return (
        b"\x12\x34\x01\x00" + struct.pack(">HHHH", 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
    )


@pytest.mark.parametrize(
    ("name", "kind", "code", "answers"),
    [
        ("web.default.svc.cluster.local", 1, 0, 1),
        ("web.default.svc.cluster.local", 28, 0, 0),
        ("db.default.svc.cluster.local", 1, 0, 2),
        ("none.default.svc.cluster.local", 1, 3, 0),
        ("out.default.svc.cluster.local", 1, 0, 1),
    ],
)
def test_an_answer_on_the_wire(name: str, kind: int, code: int, answers: int) -> None:
    reply = respond(query(name, kind), ZONE)
    number, flags, questions, records = struct.unpack(">HHHH", reply[:8])
    assert (number, flags & 0xF, questions, records) == (0x1234, code, 1, answers)


@given(st.binary(min_size=12, max_size=200))
def test_garbage_gets_an_answer_too(data: bytes) -> None:
    reply = respond(data, ZONE)
    assert reply[:2] == data[:2]
    assert reply[2] & 0x80
