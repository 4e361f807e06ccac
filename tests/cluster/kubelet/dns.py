"""Names inside the cluster; stands in for CoreDNS.

A records of Services, of headless Services and their pods, and CNAMEs of ExternalName Services. There
is no upstream: every other name does not exist, which keeps tests inside the cluster.
"""

import asyncio
import ipaddress
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

from tests.cluster.kubelet.services import Services

Json = dict[str, Any]
_TTL = 5
_MOST_ANSWERS = 25
"""What fits into the 512 bytes of a plain UDP answer, with the question."""
_A, _CNAME, _ANY = 1, 5, 255
_NO_ERROR, _FORMAT_ERROR, _NO_SUCH_NAME = 0, 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A pod behind a headless Service. `hostname` is None when the pod has no name of its own there."""

    address: str
    hostname: str | None
    ready: bool


Endpoints = Callable[[str, Json], Iterable[Endpoint]]
"""The pods of a namespace whose labels match a Service's selector."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for: addresses, or another name."""

    addresses: tuple[str, ...] = ()
    alias: str | None = None


class Zone:
    """The names of one cluster domain."""

    def __init__(self, services: Services, endpoints: Endpoints, *, domain: str) -> None:
        self._services = services
        self._endpoints = endpoints
        self._domain = domain.split(".")

    def resolve(self, name: str) -> Answer | None:
        """None: no such name. An empty answer: the name exists and has no address now."""
        labels = name.lower().rstrip(".").split(".")
        size = len(self._domain)
        if labels[-size:] != self._domain:
            return None
        match labels[:-size]:
            case [service, namespace, "svc"]:
                return self._service(namespace, service)
            case [host, service, namespace, "svc"]:
                return self._pod(namespace, service, host)
            case [address, _, "pod"] if address.count("-") == 3:
                return Answer((address.replace("-", "."),))
        return None

    def _service(self, namespace: str, name: str) -> Answer | None:
        service = self._services.find(namespace, name)
        if service is None:
            return None
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return Answer(alias=spec["externalName"])
        if spec.get("clusterIP", "None") not in ("", "None"):
            return Answer((spec["clusterIP"],))
        return Answer(tuple(endpoint.address for endpoint in self._behind(namespace, spec)))

    def _pod(self, namespace: str, service: str, hostname: str) -> Answer | None:
        found = self._services.find(namespace, service)
        if found is None or found["spec"].get("clusterIP") != "None":
            return None
        behind = self._behind(namespace, found["spec"])
        addresses = tuple(endpoint.address for endpoint in behind if endpoint.hostname == hostname)
        return Answer(addresses) if addresses else None

    def _behind(self, namespace: str, spec: Json) -> Iterable[Endpoint]:
        if not spec.get("selector"):
            return
        unready = bool(spec.get("publishNotReadyAddresses"))
        for endpoint in self._endpoints(namespace, spec["selector"]):
            if endpoint.ready or unready:
                yield endpoint


class DnsServer(asyncio.DatagramProtocol):
    """Answers over UDP."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if len(data) >= 12:
            self._transport.sendto(respond(data, self._zone), addr)


def respond(query: bytes, zone: Zone) -> bytes:
    """The answer to a query of at least a header's length; broken ones get FORMERR."""
    try:
        name, kind, end = _question(query)
    except (IndexError, struct.error, UnicodeDecodeError):
        return query[:2] + struct.pack(">HHHHH", 0x8180 | _FORMAT_ERROR, 0, 0, 0, 0)
    answer = zone.resolve(name)
    records = [] if answer is None else list(_records(answer, kind))
    code = _NO_SUCH_NAME if answer is None else _NO_ERROR
    header = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(records), 0, 0)
    return header + query[12:end] + b"".join(records)


def _question(query: bytes) -> tuple[str, int, int]:
    """Name, type, and where the question ends."""
    at, labels = 12, []
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += length + 1
    (kind,) = struct.unpack(">H", query[at + 1 : at + 3])
    return ".".join(labels), kind, at + 5


def _records(answer: Answer, kind: int) -> Iterable[bytes]:
    if answer.alias is not None:
        target = b"".join(bytes([len(part)]) + part.encode() for part in answer.alias.rstrip(".").split("."))
        yield _record(_CNAME, target + b"\0")
    elif kind in (_A, _ANY):
        for address in answer.addresses[:_MOST_ANSWERS]:
            yield _record(_A, ipaddress.IPv4Address(address).packed)


def _record(kind: int, data: bytes) -> bytes:
    """Its name is a pointer to the question's."""
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, _TTL, len(data)) + data
