"""Releases of charts by the Helm SDK, for as long as a test needs them.

The SDK is Helm itself in this process: it must have been started in the cluster's network.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import helm_python

from tests.cluster.diagnosis import of_namespaces
from tests.cluster.kubectl import runner


@contextlib.asynccontextmanager
async def release(
    kubeconfig: Path, namespace: str, name: str, chart: Path, values: dict[str, Any] | None = None
) -> AsyncIterator[helm_python.Config]:
    """Installs `chart` as `name` and waits until its pods are ready; uninstalls, after a failure too.

    Raises `HelmCancelledError` when they are not ready within 60 s, `HelmReleaseError` when the API server
    refuses an object. Without `wait="watcher"` Helm calls a release deployed whose pods never start.
    """
    with helm_python.Config(
        kubeconfig_path=kubeconfig, namespace=namespace, qps=200, burst_limit=400
    ) as helm:
        well = False
        try:
            await asyncio.to_thread(
                helm.install, chart, name, values, namespace=namespace, wait="watcher", timeout=60
            )
            yield helm
            well = True
        finally:
            if not well:  # while there is something to see
                print(await asyncio.to_thread(of_namespaces, runner(kubeconfig), [namespace]))
            # What a failed installation left in the whole cluster would be in the next test's way.
            await asyncio.to_thread(helm.uninstall, name, timeout=60, ignore_not_found=True)
