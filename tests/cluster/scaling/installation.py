"""The adapter, installed by its chart with the Helm SDK, as a platform engineer would."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster.helm import release
from tests.waiting import until

CHART = Path(__file__).parents[3] / "charts" / "ottoscaler"
API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
RELEASE = "ottoscaler"


def values(
    queues: list[dict[str, Any]], *, hpas: list[dict[str, Any]] | None = None, **more: Any
) -> dict[str, Any]:
    """The chart's values for a test: one replica unless said otherwise."""
    return {
        "replicas": 1,
        "config": {"queues": queues},
        "hpas": hpas or [],
        "log": {"level": "debug"},
        **more,
    }


@contextlib.asynccontextmanager
async def installed(
    kube: KubeClient, kubeconfig: Path, namespace: str, chart_values: dict[str, Any]
) -> AsyncIterator[helm_python.Config]:
    """Installs the chart, waits until the APIService is available, uninstalls afterwards."""
    async with release(kubeconfig, namespace, RELEASE, CHART, chart_values) as config:
        await until(lambda: available(kube), what="the APIService is available")
        yield config
    with pytest.raises(KubeError, match="not found"):
        await kube.get(API_SERVICE)


async def available(kube: KubeClient) -> bool:
    """Whether the aggregator says that the API can be reached."""
    found = await kube.get(API_SERVICE)
    return any(
        each["type"] == "Available" and each["status"] == "True"
        for each in found.get("status", {}).get("conditions") or ()
    )
