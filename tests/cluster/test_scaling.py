"""A standard HPA follows real queues through the adapter, as the chart installs it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ottoscaler.runtime.kube import KubeClient
from tests.cluster.scaling import scenario
from tests.cluster.scaling.backends import INTERVAL_SECONDS, KINDS, MAX_AGE_SECONDS
from tests.cluster.scaling.installation import installed, values
from tests.cluster.scaling.metric import ask, recorded
from tests.waiting import until


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_replicas_follow_the_jobs(kind: str, namespace: str, kubeconfig: Path) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        queue = KINDS[kind](kube, namespace)
        await queue.start()
        await scenario.deploy_workers(kube, namespace, queue)
        entry = scenario.hpa_entry(queue, namespace, scenario.SHORT_BEHAVIOR)
        chart_values = values([queue.configuration], hpas=[entry])
        async with installed(kube, kubeconfig, namespace, chart_values):
            print(await scenario.play(kube, namespace, queue, step=40, down=60))


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_nobody_is_told_a_number_while_the_backend_is_away(
    kind: str, namespace: str, kubeconfig: Path
) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        queue = KINDS[kind](kube, namespace)
        await queue.start()
        await scenario.deploy_workers(kube, namespace, queue)
        await queue.add(5)
        entry = scenario.hpa_entry(queue, namespace, scenario.SHORT_BEHAVIOR)
        chart_values = values([queue.configuration], hpas=[entry])
        async with installed(kube, kubeconfig, namespace, chart_values):
            await scenario.becomes(kube, namespace, 3, within=40)
            async with recorded(kube, namespace, "queue_demand", queue.name) as answers:
                await until(lambda: answers, what="the recorder runs")
                await queue.stop()

                refused: Any = await until(
                    lambda: next((each for each in answers if each.value is None), None),
                    within=MAX_AGE_SECONDS * 3,
                    what="the reading is too old",
                )
                held = [each for each in answers if each.at < refused.at]
                assert [each.value for each in held] == [5] * len(held), "held until maxAge"
                assert refused.status == 503
                assert queue.name in refused.message

                async def holds() -> bool:
                    active = await scenario.condition(kube, namespace, "ScalingActive")
                    return active.get("status") == "False" and queue.name in active.get("message", "")

                await until(holds, what="the HPA shows our message")
                active = await scenario.condition(kube, namespace, "ScalingActive")
                assert active["reason"] == "FailedGetExternalMetric"
                await scenario.stays(kube, namespace, 3, seconds=10)

                await queue.restore()
                back = asyncio.get_running_loop().time()
                await until(lambda: answers[-1].value is not None, within=15, what="readings are fresh again")
                fresh = next(each for each in answers if each.at > refused.at and each.value is not None)
                print(
                    f"{kind}: fresh {fresh.at - back:+.1f} s after the backend was ready, interval {INTERVAL_SECONDS} s"
                )
                await scenario.stays(kube, namespace, 3, seconds=5)
            assert {each.value for each in answers} <= {None, 5}, "no 0 was ever served"
            assert {each.status for each in answers} <= {200, 503}
            print(f"{kind}: {len(answers)} answers, {len(held)} of them held")


async def test_an_unknown_queue_is_not_found(namespace: str, kubeconfig: Path) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        queue = KINDS["redis"](kube, namespace)
        await queue.start()
        async with installed(kube, kubeconfig, namespace, values([queue.configuration])):
            answer = await ask(kube, namespace, "queue_demand", "nobody")
            assert answer.status == 404


async def test_a_derived_metric_is_followed_without_a_queue(namespace: str, kubeconfig: Path) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        queue = KINDS["redis"](kube, namespace)
        await queue.start()
        await scenario.deploy_workers(kube, namespace, queue)
        entry = scenario.hpa_entry(queue, namespace, scenario.SHORT_BEHAVIOR)
        del entry["queue"]
        entry["metric"] = "total_demand"
        derived = {"name": "total_demand", "of": [{"queue": queue.name}]}
        config = {"queues": [queue.configuration], "metrics": [derived]}
        chart_values = values([], hpas=[entry], config=config)
        async with installed(kube, kubeconfig, namespace, chart_values):
            await queue.add(2)
            await scenario.becomes(kube, namespace, 2, within=60)
            active = await scenario.condition(kube, namespace, "ScalingActive")
            assert (active["status"], active["reason"]) == ("True", "ValidMetricFound")
