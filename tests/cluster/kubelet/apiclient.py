"""The API server as the kubelet uses it: with few requests at a time.

500 pods that arrive together would each open a TLS connection of their own; a few connections serve
them as fast. Each verb has its own, so that the status of a pod that runs does not queue behind the
tokens of those that are to come. Watches do not count: they stay open.
"""

import asyncio
import ssl
from typing import Any

from ottoscaler.runtime.kube import KubeClient, Params, PatchKind
from ottoscaler.runtime.kubeconfig import Access
from tests.cluster.kubelet.settings import Settings

_AT_ONCE = 4


class NodeApiClient(KubeClient):
    """Speaks as the node: `system:node:<name>` of the group `system:nodes`."""

    def __init__(self, settings: Settings) -> None:
        tls = ssl.create_default_context(cafile=str(settings.pki / "ca.crt"))
        tls.load_cert_chain(settings.pki / "kubelet.crt", settings.pki / "kubelet.key")
        super().__init__(
            Access(
                server=settings.api_server,
                namespace="default",
                tls=tls,
                server_hostname=None,
                token=_no_token,
            )
        )
        self._gets, self._creates, self._patches, self._deletes = (
            asyncio.Semaphore(_AT_ONCE) for _ in range(4)
        )

    async def get(self, path: str, params: Params | None = None) -> Any:
        async with self._gets:
            return await super().get(path, params)

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        async with self._creates:
            return await super().create(path, body, params)

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        async with self._patches:
            return await super().patch(path, body, kind=kind, params=params)

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        async with self._deletes:
            return await super().delete(path, body, params)


async def _no_token() -> None:
    """The certificate says who we are."""
