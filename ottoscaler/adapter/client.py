"""The external-metrics API seen from outside: what `kubectl get --raw` shows, as values.

Asks through the cluster's API server by a kubeconfig, or an adapter in standalone mode directly.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.kubeconfig import Access, KubeConfigError

GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"


class ClientError(Exception):
    """The API gave no value; the message is the API's own where it gave one."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; 0 when nobody answered."""


class MetricsClient:
    """One way to the API. Use as an async context manager."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube

    @classmethod
    async def through_cluster(cls, kubeconfig: Path | None, *, context: str | None = None) -> Self:
        """By the aggregator. Raises `ClientError`."""
        try:
            return cls(await KubeClient.connect(kubeconfig, context=context))
        except KubeConfigError as error:
            raise ClientError(str(error), status=0) from error

    @classmethod
    def direct(cls, server: str, *, token: str | None, ca_file: Path | None) -> Self:
        """To an adapter itself; without `ca_file` the system's CAs count. Raises `ClientError`."""
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ClientError(f"{ca_file} is no file of CA certificates: {error}", status=0) from error

        async def give() -> str | None:
            return token

        access = Access(
            server=server.rstrip("/"), namespace="default", tls=tls, server_hostname=None, token=give
        )
        return cls(KubeClient(access))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kube.close()

    @property
    def namespace(self) -> str:
        """The namespace to ask for when nobody says one."""
        return self._kube.namespace

    async def names(self) -> Sequence[str]:
        """The metrics that there are. Raises `ClientError`."""
        answer = await self._get(GROUP_VERSION, {})
        return sorted(str(resource["name"]) for resource in answer.get("resources", ()))

    async def read(self, name: str, *, namespace: str, selector: str = "") -> dict[str, Any]:
        """The `ExternalMetricValueList`. Raises `ClientError`."""
        path = f"{GROUP_VERSION}/namespaces/{quote(namespace, safe='')}/{quote(name, safe='')}"
        return await self._get(path, {"labelSelector": selector} if selector else {})

    async def _get(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        try:
            answer = await self._kube.get(path, params)
        except KubeError as error:
            raise ClientError(error.message, status=error.status) from error
        except KubeConfigError as error:
            raise ClientError(str(error), status=0) from error
        if not isinstance(answer, dict):
            raise ClientError("the answer is no object of the API", status=200)
        return answer
