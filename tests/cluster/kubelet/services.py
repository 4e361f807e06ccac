"""The cluster's Services: for names (`dns`) and for the variables that containers get of them."""

import asyncio
from collections.abc import Iterator
from typing import Any

from ottoscaler.runtime.kube import KubeClient
from ottoscaler.runtime.tasks import Backoff

Json = dict[str, Any]


class Services:
    """Kept up to date by `run`."""

    def __init__(self, api: KubeClient) -> None:
        self._api = api
        self._services: dict[tuple[str, str], Json] = {}
        self.known = asyncio.Event()
        """Set once the API server's own Service is known: no container starts before."""

    async def run(self) -> None:
        async for event in self._api.watch("/api/v1/services", backoff=Backoff(initial=0.1, maximum=1.0)):
            match event.type:
                case "SYNC":
                    self._services = {_key(service): service for service in event.object}
                case "DELETED":
                    self._services.pop(_key(event.object), None)
                case _:
                    self._services[_key(event.object)] = event.object
            if ("default", "kubernetes") in self._services:
                self.known.set()

    def find(self, namespace: str, name: str) -> Json | None:
        return self._services.get((namespace, name))

    def environment(self, namespace: str, *, links: bool) -> dict[str, str]:
        """The variables for a container: the API server's, and with `links` every Service's of the namespace.

        As `pkg/kubelet/envvars`: `REDIS_PORT=tcp://10.96.3.1:6379` included, which programs with a
        variable of that name have to live with.
        """
        variables: dict[str, str] = {}
        if links:
            for (where, _), service in sorted(self._services.items()):
                if where == namespace:
                    variables.update(_variables(service))
        if api_server := self._services.get(("default", "kubernetes")):
            variables.update(_variables(api_server))
        return variables


def _variables(service: Json) -> Iterator[tuple[str, str]]:
    address = service["spec"].get("clusterIP")
    ports = service["spec"].get("ports") or []
    if address in (None, "", "None") or not ports:
        return
    prefix = _variable(service["metadata"]["name"])
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(ports[0]["port"])
    for port in ports:
        if port.get("name"):
            yield f"{prefix}_SERVICE_PORT_{_variable(port['name'])}", str(port["port"])
    yield f"{prefix}_PORT", _url(address, ports[0])
    for port in ports:
        protocol = port.get("protocol", "TCP")
        own = f"{prefix}_PORT_{port['port']}_{protocol}"
        yield own, _url(address, port)
        yield f"{own}_PROTO", protocol.lower()
        yield f"{own}_PORT", str(port["port"])
        yield f"{own}_ADDR", address


def _url(address: str, port: Json) -> str:
    return f"{port.get('protocol', 'TCP').lower()}://{address}:{port['port']}"


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _key(service: Json) -> tuple[str, str]:
    return service["metadata"]["namespace"], service["metadata"]["name"]
