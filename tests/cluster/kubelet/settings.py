"""What the kubelet is told: by its command line who it is, by the environment how it behaves."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.kubelet.quantity import to_number


class SettingsError(Exception):
    """The command line or a variable cannot be used; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node. Durations are seconds."""

    cluster: Path
    """The cluster's directory: `pki/`, `images.json`, and `kubelet/`, which is ours."""
    node: str
    node_ip: str
    gateway: str
    """The node's address on the pod network."""
    pod_cidr: str
    domain: str
    sync_seconds: float
    """At the latest after this a volume is compared with its source; changes seen come at once."""
    backoff_initial: float
    """Before the second restart of a container, and between image pulls; doubles up to `backoff_maximum`."""
    backoff_maximum: float
    log_max_bytes: int
    log_max_files: int
    capacity: Mapping[str, str]

    @property
    def api_server(self) -> str:
        return f"https://{self.node_ip}:6443"

    @property
    def pki(self) -> Path:
        return self.cluster / "pki"

    @property
    def images(self) -> Path:
        return self.cluster / "images.json"

    @property
    def pods(self) -> Path:
        """A directory for each pod's files, by uid."""
        return self.cluster / "kubelet" / "pods"

    @classmethod
    def read(cls, arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> "Settings":
        """From `CLUSTERDIR NODE NODE_IP GATEWAY` and `KUBELET_*`. Raises `SettingsError`."""
        if len(arguments) != 4:
            raise SettingsError("usage: python -m tests.cluster.kubelet CLUSTERDIR NODE NODE_IP GATEWAY")
        directory, node, node_ip, gateway = arguments
        number = _Numbers(environ)
        return cls(
            cluster=Path(directory).resolve(),
            node=node,
            node_ip=node_ip,
            gateway=gateway,
            pod_cidr=environ.get("KUBELET_POD_CIDR")
            or str(ipaddress.IPv4Network(f"{gateway}/20", strict=False)),
            domain="cluster.local",
            sync_seconds=number("KUBELET_SYNC_SECONDS", "2"),
            backoff_initial=number("KUBELET_BACKOFF_SECONDS", "1"),
            backoff_maximum=number("KUBELET_BACKOFF_MAX_SECONDS", "300"),
            log_max_bytes=int(number("KUBELET_LOG_MAX_SIZE", "10Mi")),
            log_max_files=max(2, int(number("KUBELET_LOG_MAX_FILES", "5"))),
            capacity={
                # Nothing is limited here, so the scheduler must not be what stops 500 workers.
                "cpu": environ.get("KUBELET_CPU", "512"),
                "memory": environ.get("KUBELET_MEMORY", "1Ti"),
                "ephemeral-storage": environ.get("KUBELET_STORAGE", "1Ti"),
                "pods": environ.get("KUBELET_MAX_PODS", "600"),
            },
        )


class _Numbers:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: str, default: str) -> float:
        text = self._environ.get(name) or default
        try:
            return to_number(text)
        except ValueError:
            raise SettingsError(f"{name}: {text!r} is not a number such as 2, 0.5 or 10Mi") from None
