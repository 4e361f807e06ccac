"""Our API server alone, with delegated security and values that lie in memory.

python -m tests.bench.static_server DIRECTORY PORT QUEUES
"""

import asyncio
import gc
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from ottoscaler.apiservice.delegated import DelegatedSecurity, GivenCertificate
from ottoscaler.apiservice.provider import MetricNotFound, MetricValue, MetricValueList
from ottoscaler.apiservice.selector import Selector
from ottoscaler.apiservice.server import ExternalMetricsServer
from ottoscaler.runtime.kube import KubeClient
from ottoscaler.runtime.log import configure_logging

METRIC = "queue_demand"


class Values:
    """As many queues as wanted, found by name."""

    def __init__(self, queues: int) -> None:
        self._queues = {
            name: MetricValueList([_value(name, number)])
            for number, name in enumerate(f"queue-{number:05}" for number in range(queues))
        }

    def list_metrics(self) -> Sequence[str]:
        return (METRIC,)

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        queue = selector.exact("queue")
        if name != METRIC or queue not in self._queues:
            raise MetricNotFound(f'no queue "{queue}" for "{namespace}"')
        return self._queues[queue]


def _value(name: str, number: int) -> MetricValue:
    return MetricValue(
        metric_name=METRIC,
        labels={"queue": name, "kind": "redis-stream"},
        timestamp=time.time(),
        value_milli=number % 7 * 1000,
    )


async def main(directory: Path, port: int, queues: int) -> None:
    """Serves until it is killed."""
    configure_logging(level="warning")
    files = GivenCertificate(chain=directory / "server.crt", key=directory / "server.key")
    async with await KubeClient.connect(directory / "kubeconfig") as client, asyncio.TaskGroup() as tasks:
        security = DelegatedSecurity(client, files)
        tasks.create_task(security.run())
        server = ExternalMetricsServer(
            Values(queues),
            authenticator=security.authenticator,
            authorizer=security.authorizer,
            tls=security.tls,
            port=port,
        )
        async with server:
            gc.collect()
            gc.freeze()
            await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
