"""The objects that lead from the aggregator to an adapter outside, for aggregators old and new.

The real API server takes them in tests/cluster/test_registration.py; old aggregators are not to be had there.
"""

from typing import Any, cast

import pytest

from ottoscaler.apiservice.outside import ExternalAddress, lead_outside
from ottoscaler.apiservice.ownership import ServiceReference
from ottoscaler.runtime.kube import KubeClient, KubeError

SERVICE = ServiceReference(namespace="queues", name="adapter")


class Server:
    """An API server of some version that takes whatever it is given."""

    def __init__(self, major: str, minor: str) -> None:
        self.version = {"major": major, "minor": minor}
        self.made: dict[str, Any] = {}

    async def get(self, path: str) -> Any:
        if path == "/version":
            return self.version
        raise KubeError(status=404, reason="NotFound", message="not found")

    async def create(self, _path: str, body: dict[str, Any]) -> Any:
        self.made[body["kind"]] = body
        return body


@pytest.mark.parametrize(
    ("minor", "kinds"),
    [
        ("28", {"Service", "EndpointSlice", "Endpoints"}),
        ("32+", {"Service", "EndpointSlice", "Endpoints"}),
        ("33", {"Service", "EndpointSlice"}),
        ("36+", {"Service", "EndpointSlice"}),
    ],
)
async def test_aggregators_that_look_for_endpoints_get_them(minor: str, kinds: set[str]) -> None:
    server = Server("1", minor)
    await lead_outside(cast("KubeClient", server), SERVICE, ExternalAddress(address="10.0.0.7", port=6443))
    assert set(server.made) == kinds


async def test_endpoints_are_not_mirrored_into_a_second_slice_and_ports_have_the_services_name() -> None:
    server = Server("1", "30")
    await lead_outside(cast("KubeClient", server), SERVICE, ExternalAddress(address="fd00::7", port=6443))
    service, piece, endpoints = (server.made[kind] for kind in ("Service", "EndpointSlice", "Endpoints"))
    assert "selector" not in service["spec"]
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("https", 443, 6443)
    assert piece["addressType"] == "IPv6"
    assert (
        piece["ports"]
        == endpoints["subsets"][0]["ports"]
        == [{"name": port["name"], "port": 6443, "protocol": "TCP"}]
    )
    assert piece["metadata"]["labels"]["kubernetes.io/service-name"] == "adapter"
    assert endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] == "true"
