"""A way from the cluster to an adapter that runs outside it.

The aggregator only knows Services. One without a selector has no pods, so what leads from it to the
adapter's address is written here, as EndpointSlice and, for old aggregators, as Endpoints.
"""

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ottoscaler.apiservice.objects import find, put, remove
from ottoscaler.apiservice.ownership import PRODUCT, PRODUCT_LABEL, ServiceReference
from ottoscaler.runtime.kube import KubeClient

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABELS: Final = {PRODUCT_LABEL: PRODUCT, MANAGED_BY: PRODUCT}
_ENDPOINTS_UNTIL = (1, 33)
"""Aggregators before this version look for Endpoints, which nothing derives from an EndpointSlice."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OutsideError(Exception):
    """No way can be made; one line that says what to do."""


class ExternalAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API server reaches an adapter outside the cluster."""

    address: str
    """An IP address that is neither loopback nor link-local (Kubernetes refuses those)."""
    port: int


async def lead_outside(client: KubeClient, service: ServiceReference, external: ExternalAddress) -> None:
    """Makes a Service without a selector, and what leads from it to `external`. Raises `OutsideError`."""
    try:
        address = ipaddress.ip_address(external.address)
    except ValueError as error:
        raise OutsideError(f"{external.address!r} is no IP address") from error
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise OutsideError(
            f"{address} cannot be reached from the API server: give the address by which it sees this machine"
        )
    await _put_service(client, service, external.port)
    await _put_slice(client, service, address, external.port)
    if await _server_version(client) < _ENDPOINTS_UNTIL:
        await _put_endpoints(client, service, address, external.port)


async def _put_service(client: KubeClient, service: ServiceReference, target: int) -> None:
    services = f"/api/v1/namespaces/{service.namespace}/services"
    found = await find(client, f"{services}/{service.name}")
    if found is not None and not _made_here(found):
        raise OutsideError(f"Service {service} exists and was not made by register: choose another name")
    port = {"name": "https", "port": service.port, "targetPort": target, "protocol": "TCP"}
    wanted = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service),
        "spec": {"ports": [port]},
    }
    await put(client, services, wanted, found)


async def _put_slice(client: KubeClient, service: ServiceReference, address: _Address, port: int) -> None:
    slices = _slices(service)
    found = await find(client, f"{slices}/{service.name}")
    family = f"IPv{address.version}"
    if found is not None and found["addressType"] != family:  # which cannot be changed
        await remove(client, f"{slices}/{service.name}")
        found = None
    wanted = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": _metadata(
            service,
            {"kubernetes.io/service-name": service.name, "endpointslice.kubernetes.io/managed-by": PRODUCT},
        ),
        "addressType": family,
        "endpoints": [{"addresses": [str(address)], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    await put(client, slices, wanted, found)


async def _put_endpoints(client: KubeClient, service: ServiceReference, address: _Address, port: int) -> None:
    endpoints = f"/api/v1/namespaces/{service.namespace}/endpoints"
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    wanted = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": _metadata(service, {"endpointslice.kubernetes.io/skip-mirror": "true"}),
        "subsets": [{"addresses": [{"ip": str(address)}], "ports": ports}],
    }
    await put(client, endpoints, wanted, await find(client, f"{endpoints}/{service.name}"))


async def remove_outside(client: KubeClient, service: ServiceReference) -> bool:
    """Removes what `lead_outside` made; False: there was nothing of ours. Endpoints go with their Service."""
    path = f"/api/v1/namespaces/{service.namespace}/services/{service.name}"
    found = await find(client, path)
    if found is None or not _made_here(found):
        return False
    await remove(client, path)
    await remove(client, f"{_slices(service)}/{service.name}")
    return True


def _made_here(found: Mapping[str, Any]) -> bool:
    return bool((found["metadata"].get("labels") or {}).get(MANAGED_BY) == PRODUCT)


def _metadata(service: ServiceReference, labels: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    return {"name": service.name, "namespace": service.namespace, "labels": {**LABELS, **labels}}


def _slices(service: ServiceReference) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{service.namespace}/endpointslices"


async def _server_version(client: KubeClient) -> tuple[int, int]:
    version = await client.get("/version")
    digits = "".join(character for character in str(version["minor"]) if character.isdigit())
    return int(version["major"]), int(digits or 0)
