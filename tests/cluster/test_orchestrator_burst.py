"""Many events at once: every worker is created once and runs once, soon."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.figures import quantile
from tests.cluster.orchestrator.births import births
from tests.cluster.orchestrator.figures import SIZES, record
from tests.cluster.orchestrator.scene import STREAM, scene
from tests.waiting import until

pytestmark = pytest.mark.own_cluster  # what ran is told by a file of the node

EACH = 5


async def test_a_burst_of_events(namespace: str, kubeconfig: Path) -> None:
    events, workers = SIZES.burst, SIZES.burst * EACH
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings()) as replica:
        async with births(here.kube, here.pods) as told:
            started = time.monotonic()
            async with here.redis.pipeline(transaction=False) as pipe:
                for number in range(events):
                    entry: Any = {
                        "type": "scale_up",
                        "task_id": f"task-{number % 17}",
                        "pod_count": str(EACH),
                    }
                    pipe.xadd(STREAM, entry)
                await pipe.execute()
            await until(lambda: len(told.uids) >= workers, within=120, what="all are created")
            await here.until_settled(events)
            created = time.monotonic() - started
            await here.until_ran(workers, within=240)
            ran = time.monotonic() - started
            await here.until_gone(within=120)
            gone = time.monotonic() - started
        assert not told.twice
        assert len(told.uids) == workers
        assert here.ran() == dict.fromkeys(told.uids, 1)
        assert await here.dead_letters() == []
        latencies = list(told.latencies.values())
        record(
            "burst",
            events=events,
            workers=workers,
            **{
                "event to pod p50, s": quantile(latencies, 0.5),
                "event to pod p99, s": quantile(latencies, 0.99),
                "all created, s": created,
                "all ran, s": ran,
                "all gone, s": gone,
                "most pods at once": told.most_alive,
                "RSS, MiB": replica.rss,
            },
        )
