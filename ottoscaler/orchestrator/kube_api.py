"""What the orchestrator needs of the Kubernetes API, so that mock mode can stand in for a cluster.

`ottoscaler.runtime.kube.KubeClient` is one of these; `ottoscaler.orchestrator.mock` has the other.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from ottoscaler.runtime.kube import KubeError, PatchKind, WatchEvent

Params = Mapping[str, str]

QUOTA_WORDS = "exceeded quota"
"""How the ResourceQuota admission plug-in begins its refusal (a 403 without a reason of its own)."""


class Kube(Protocol):
    """The calls of `KubeClient` that are used here; errors are `KubeError`."""

    async def get(self, path: str, params: Params | None = None) -> Any: ...

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any: ...

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any: ...

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any: ...

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any: ...

    def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]: ...

    def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]: ...


def pods_path(namespace: str, name: str = "") -> str:
    """The collection, or one pod."""
    return f"/api/v1/namespaces/{namespace}/pods" + (f"/{name}" if name else "")


def config_maps_path(namespace: str, name: str = "") -> str:
    """The collection, or one ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")


def is_quota(error: KubeError) -> bool:
    """Whether a ResourceQuota stands in the way, or was changed at the same moment."""
    return (error.status == 403 and QUOTA_WORDS in error.message) or (
        error.status == 409 and "resourcequotas" in error.message
    )


def is_passing(error: KubeError) -> bool:
    """Whether the same call may well succeed later: the server is away, busy or unwell."""
    return error.status in {0, 408, 429} or error.status >= 500
