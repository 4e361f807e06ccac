"""The node itself: registered once, kept alive by a lease and, now and then, by its status."""

import asyncio
import os
from typing import Any

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff
from tests.cluster.kubelet import timestamps
from tests.cluster.kubelet.settings import Settings

Json = dict[str, Any]
KUBELET_PORT = 10250
_LEASE_SECONDS = 40
_RENEW_SECONDS = 5.0
_STATUS_EVERY = 12
"""Renewals between two statuses: once a minute."""
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

log = get_logger("node")


class Node:
    """Tells the API server that this node exists and is well."""

    def __init__(self, api: KubeClient, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._since = timestamps.seconds()

    async def run(self) -> None:
        """Registers, then beats until cancelled; an API server that is away is waited for."""
        delays = Backoff(initial=0.1, maximum=1.0)
        beats = 0
        registered = False
        while True:
            try:
                if not registered:
                    await self._register()
                    registered = True
                await self._renew()
                if beats % _STATUS_EVERY == 0:
                    path = f"/api/v1/nodes/{self._settings.node}/status"
                    await self._api.patch(path, {"status": self._status()}, kind="strategic")
                beats += 1
                delays.reset()
                await asyncio.sleep(_RENEW_SECONDS)
            except KubeError as error:
                beats = 0  # the node controller may have given us up: the next beat says that we are well
                log.warning("heartbeat failed, retrying", status=error.status, error=error)
                await asyncio.sleep(delays.next())

    async def _register(self) -> None:
        name, cidr = self._settings.node, self._settings.pod_cidr
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
        }
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
            "status": self._status(),
        }
        try:
            await self._api.create("/api/v1/nodes", body)
        except KubeError as error:
            if error.status != 409:
                raise

    async def _renew(self) -> None:
        name = self._settings.node
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": timestamps.microseconds(),
        }
        try:
            await self._api.patch(f"{_LEASES}/{name}", {"spec": spec})
        except KubeError as error:
            if error.status != 404:
                raise
            metadata = {"name": name, "namespace": "kube-node-lease"}
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec,
            }
            await self._api.create(_LEASES, body)

    def _status(self) -> Json:
        settings = self._settings
        conditions = [self._condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")]
        for pressure in ("MemoryPressure", "DiskPressure", "PIDPressure"):
            conditions.append(
                self._condition(pressure, "False", f"KubeletHasNo{pressure}", "nothing is limited")
            )
        return {
            "capacity": dict(settings.capacity),
            "allocatable": dict(settings.capacity),
            "addresses": [
                {"type": "InternalIP", "address": settings.node_ip},
                {"type": "Hostname", "address": settings.node},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
            "conditions": conditions,
            "nodeInfo": {
                "architecture": _architecture(),
                "bootID": "",
                "containerRuntimeVersion": "process://1.0",
                "kernelVersion": os.uname().release,
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.4",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "process kubelet",
                "systemUUID": "",
            },
        }

    def _condition(self, kind: str, status: str, reason: str, message: str) -> Json:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": timestamps.seconds(),
            "lastTransitionTime": self._since,
        }


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
