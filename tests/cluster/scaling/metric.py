"""Every answer that the metric ever gave, as the HPA controller would have seen it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ottoscaler.runtime.kube import KubeClient, KubeError

GROUP = "/apis/external.metrics.k8s.io/v1beta1"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the value, or the status and message of a refusal."""

    at: float
    """The loop's clock."""
    value: int | None
    timestamp: str = ""
    status: int = 200
    message: str = ""


async def ask(kube: KubeClient, namespace: str, metric: str, queue: str) -> Answer:
    """Reads a metric of one queue through the aggregator."""
    at = asyncio.get_running_loop().time()
    try:
        got = await kube.get(f"{GROUP}/namespaces/{namespace}/{metric}", {"labelSelector": f"queue={queue}"})
    except KubeError as error:
        return Answer(at, None, status=error.status, message=error.message)
    (item,) = got["items"]
    return Answer(at, int(item["value"]), timestamp=item["timestamp"])


@contextlib.asynccontextmanager
async def recorded(
    kube: KubeClient, namespace: str, metric: str, queue: str, *, every: float = 0.1
) -> AsyncIterator[list[Answer]]:
    """Asks all the time; the list grows while the block runs."""
    answers: list[Answer] = []

    async def record() -> None:
        while True:
            answers.append(await ask(kube, namespace, metric, queue))
            await asyncio.sleep(every)

    task = asyncio.create_task(record())
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
