"""A replica in this process, over a mock cluster and a real Redis, that can die at any call it makes.

No later call of the same replica reaches the cluster or Redis: that is what `kill -9` leaves behind.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisAway

from ottoscaler.orchestrator.events.claims import Claims
from ottoscaler.orchestrator.events.consumer import EventConsumer, EventRules
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.handler.buffer import Budget
from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.launch import Launcher
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.scaling import Scaler
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import PodDefaults
from ottoscaler.orchestrator.tending.caretaker import Rules
from ottoscaler.orchestrator.tending.quota import Limits, Quota
from ottoscaler.orchestrator.tending.settled import Ledger
from ottoscaler.orchestrator.tending.tender import Parts, Tender
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from tests.orchestrator.dying import Faults, FaultyKube, until_dead

NAMESPACE = "n"
STREAM = "otto:scale:events"
GROUP = "ottoscaler"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
QUICK = {
    "spec": {
        "containers": [{"name": "worker", "env": [{"name": "OTTO_CONFIG_MOCK_SECONDS", "value": "0.01"}]}]
    }
}
HELD = {
    "spec": {
        "containers": [{"name": "worker", "env": [{"name": "OTTO_CONFIG_MOCK_SECONDS", "value": "600"}]}]
    }
}


class MortalStream(EventStream):
    """The stream, likewise: each command may be the last."""

    def __init__(self, faults: Faults, client: Any, *, consumer: str, transactions: bool = True) -> None:
        super().__init__(client, stream=STREAM, group=GROUP, consumer=consumer, transactions=transactions)
        self._faults = faults

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"read", "own", "claim", "acknowledge", "bury", "refresh", "unsettled"}:
            return found

        async def mortal(*args: Any, **kwargs: Any) -> Any:
            return await self._faults.guard(lambda: found(*args, **kwargs), RedisAway("dead"))

        return mortal


class Births:
    """Every pod that was ever created, seen by a watch of its own."""

    def __init__(self, cluster: MockCluster) -> None:
        self._cluster = cluster
        self.names: Counter[str] = Counter()

    async def run(self) -> None:
        async for event in self._cluster.watch(PODS):
            if event.type == "ADDED":
                self.names[event.object["metadata"]["name"]] += 1


async def live(
    kube: Kube,
    client: Any,
    *,
    name: str = "replica-1",
    faults: Faults | None = None,
    leading: bool = True,
    template: dict[str, Any] | None = None,
    limits: Limits | None = None,
    rules: EventRules | None = None,
    transactions: bool = True,
) -> None:
    """One life of a replica: returns when it has died, else goes on until cancelled."""
    faults = faults or Faults()
    mortal, clock, telemetry = FaultyKube(kube, faults), SYSTEM_CLOCK, Telemetry()
    limits, rules = limits or Limits(), rules or EventRules(block=0.05, claim_idle=1.0)
    index = WorkerIndex(mortal, NAMESPACE)
    defaults = PodDefaults(
        image="busybox",
        limits={},
        requests={},
        active_deadline=60,
        template=template or QUICK,
        gated=limits.any,
    )
    launcher = Launcher(kube=mortal, index=index, defaults=defaults, telemetry=telemetry, clock=clock)
    ledger = Ledger(events=True, others=(), clock=clock)
    scaler = Scaler(kube=mortal, index=index, launcher=launcher, settlement=ledger, clock=clock)
    stream = MortalStream(faults, client, consumer=name, transactions=transactions)
    ledger.attach(stream)
    consumer = EventConsumer(stream=stream, scaler=scaler, rules=rules, telemetry=telemetry, clock=clock)
    consumer.on_settled = ledger.note

    async def reader() -> tuple[EventStream, EventConsumer]:
        return stream, consumer

    tender = Tender(
        Parts(
            kube=mortal,
            index=index,
            link=None,
            settled=ledger,
            rules=Rules(retain=0.0, handover=0.0, follow_logs=False),
            budget=Budget(10**9),
            streams=asyncio.Semaphore(10),
            telemetry=telemetry,
            clock=clock,
        )
    )
    works = [index.run(), ledger.run(), consumer.run()]
    if leading:
        works += [
            tender.run(),
            Claims(current=reader, rules=rules, telemetry=telemetry, clock=clock).run(),
            Quota(kube=mortal, index=index, limits=limits, telemetry=telemetry, clock=clock).run(),
        ]
    await until_dead(works, faults)


@asynccontextmanager
async def world(client: Any) -> AsyncIterator[tuple[MockCluster, Births]]:
    """A cluster in which pods start at once, and everybody's births; Redis is emptied."""
    await client.flushall()
    async with MockCluster(start_seconds=0.0, stop_seconds=0.0) as cluster:
        births = Births(cluster)
        watching = asyncio.create_task(births.run())
        try:
            yield cluster, births
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def pods(cluster: MockCluster) -> list[str]:
    """Names of the pods that exist."""
    return [each["metadata"]["name"] for each in cluster.objects.items(PODS)]


async def settled(client: Any) -> bool:
    """Whether every event was delivered and acknowledged."""
    if not await client.exists(STREAM) or not (groups := await client.xinfo_groups(STREAM)):
        return False
    (group,) = groups
    length = await client.xlen(STREAM)
    return bool(group["pending"] == 0 and group["entries-read"] == length)
