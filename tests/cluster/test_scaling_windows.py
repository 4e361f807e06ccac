"""The same scenario with the true default behaviour: windows of 60 s up and 300 s down."""

import asyncio
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient
from tests.cluster.scaling import scenario
from tests.cluster.scaling.backends import FirebaseQueue, LiveQueue, RedisQueue
from tests.cluster.scaling.installation import installed, values


@pytest.mark.windows
async def test_both_queues_with_the_default_windows(
    namespace: str, other_namespace: str, kubeconfig: Path
) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        queues: dict[str, LiveQueue] = {
            namespace: FirebaseQueue(kube, namespace),
            other_namespace: RedisQueue(kube, other_namespace),
        }
        for place, queue in queues.items():
            await queue.start()
            await scenario.deploy_workers(kube, place, queue)
        chart_values = values(
            [queue.configuration for queue in queues.values()],
            hpas=[scenario.hpa_entry(queue, place, None) for place, queue in queues.items()],
        )
        async with installed(kube, kubeconfig, namespace, chart_values):
            results = await asyncio.gather(
                *(scenario.play(kube, place, queue, step=240, down=600) for place, queue in queues.items())
            )
        print(*results, sep="\n")
