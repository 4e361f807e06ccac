"""The scaling scenario of the contract: 0 jobs, 1 replica; 2 jobs, 2; 5 jobs, 3; all done, 1 again."""

import asyncio
from dataclasses import dataclass
from typing import Any

from ottoscaler.runtime.kube import KubeClient
from tests.cluster.images import TESTS_IMAGE
from tests.cluster.scaling.backends import LiveQueue
from tests.waiting import until

DEPLOYMENT = "eventstorming-generator"

SHORT_BEHAVIOR: dict[str, Any] = {
    "scaleUp": {
        "stabilizationWindowSeconds": 2,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 2}],
        "selectPolicy": "Max",
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 6,
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 2}],
        "selectPolicy": "Max",
    },
}


def hpa_entry(queue: LiveQueue, namespace: str, behavior: dict[str, Any] | None) -> dict[str, Any]:
    """The chart's `hpas` entry; without `behavior` the true defaults."""
    entry: dict[str, Any] = {"queue": queue.name, "namespace": namespace, "target": {"name": DEPLOYMENT}}
    if behavior is not None:
        entry["behavior"] = behavior
    return entry


async def deploy_workers(kube: KubeClient, namespace: str, queue: LiveQueue) -> None:
    """The Deployment that the HPA scales: pods that claim and hold jobs."""
    labels = {"app": DEPLOYMENT}
    await kube.create(
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        {
            "metadata": {"name": DEPLOYMENT},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "terminationGracePeriodSeconds": 20,
                        "containers": [
                            {
                                "name": "generator",
                                "image": TESTS_IMAGE,
                                "command": ["python3", *queue.worker_arguments],
                            }
                        ],
                    },
                },
            },
        },
    )


@dataclass(frozen=True, slots=True)
class Replicas:
    """What the Deployment is asked for, and what runs."""

    wanted: int
    ready: int


async def replicas(kube: KubeClient, namespace: str) -> Replicas:
    """The Deployment's replicas now."""
    seen = await kube.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}")
    return Replicas(seen["spec"]["replicas"], seen["status"].get("readyReplicas", 0))


async def becomes(kube: KubeClient, namespace: str, count: int, *, within: float) -> float:
    """Waits until the Deployment wants and has `count` pods; the seconds it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def there() -> bool:
        return await replicas(kube, namespace) == Replicas(count, count)

    await until(there, within=within, every=0.2, what=f"{count} replicas in {namespace}")
    return loop.time() - started


async def stays(kube: KubeClient, namespace: str, count: int, *, seconds: float) -> None:
    """Fails when the Deployment is asked for anything but `count` pods within `seconds`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        seen = await replicas(kube, namespace)
        assert seen.wanted == count, f"{seen.wanted} replicas wanted, {count} expected"
        await asyncio.sleep(0.2)


async def condition(kube: KubeClient, namespace: str, kind: str) -> dict[str, Any]:
    """A condition of the HPA, e.g. `ScalingActive`; empty while the controller has not set it."""
    hpa = await kube.get(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{DEPLOYMENT}")
    for each in hpa["status"].get("conditions") or ():
        if each["type"] == kind:
            found: dict[str, Any] = each
            return found
    return {}


async def play(kube: KubeClient, namespace: str, queue: LiveQueue, *, step: float, down: float) -> str:
    """The four steps; `step` and `down` are the longest that a step up and the way back may take (s).

    Returns the seconds of each step, for people.
    """

    async def active() -> bool:
        return (await condition(kube, namespace, "ScalingActive")).get("status") == "True"

    await until(active, what="the HPA reads the metric")
    await becomes(kube, namespace, 1, within=30)
    await stays(kube, namespace, 1, seconds=3)
    await queue.add(2)
    two = await becomes(kube, namespace, 2, within=step)
    await queue.add(3)
    three = await becomes(kube, namespace, 3, within=step)
    await stays(kube, namespace, 3, seconds=3)
    await queue.finish_all()
    one = await becomes(kube, namespace, 1, within=down)
    await stays(kube, namespace, 1, seconds=3)
    return f"{queue.name}: 2 replicas after {two:.0f} s, 3 after {three:.0f} s, 1 after {one:.0f} s"
