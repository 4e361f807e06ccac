"""How many events a second become pods, how soon, and what that costs: on the real control plane.

    python -m tests.cluster run python -m tests.bench.orchestrator [--report FILE]

Events come at fixed rates whether or not the earlier ones are done (open loop). Latency is from XADD to the
moment at which a watch of the bench's own tells of the pod. Two kinds of pods: `running` ones, whose commands
are run by the process kubelet, which takes its share of the two cores, and `unscheduled` ones, which only the
API server and the orchestrator know of.
"""

import argparse
import asyncio
import os
import secrets
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ottoscaler.runtime.kube import KubeClient
from tests.bench.figures import quantile
from tests.cluster.conftest import create_namespace, delete_namespace
from tests.cluster.orchestrator.births import Births, births
from tests.cluster.orchestrator.report import write_section
from tests.cluster.orchestrator.scene import QUICK, STREAM, Scene, scene
from tests.orchestrator.replica import Replica
from tests.waiting import until

RATES = (1, 10, 100)
SECONDS = {1: 20, 10: 20, 100: 10}
BURST = 1000
HELD = 500
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One row."""

    what: str
    events: int
    per_second: float
    """Events acknowledged, from the first one sent to the last one acknowledged."""
    p50: float
    p99: float
    """Seconds from XADD to the pod."""
    cpu: float
    """Seconds of the orchestrator's CPU per 1,000 events."""
    rss: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def unscheduled(settings: Any) -> Any:
    """The same workers, for which no scheduler looks."""
    settings["workers"]["template"]["spec"]["schedulerName"] = "nobody"
    return settings


async def measure(
    here: Scene, replica: Replica, told: Births, *, what: str, count: int, rate: float
) -> Measured:
    """Sends `count` events of one worker each at `rate` a second (0: all at once)."""
    known, before = set(told.latencies), cpu_seconds(replica.pid)
    settled_before = await _acknowledged(here)
    started = time.monotonic()
    for number in range(count):
        if rate and (early := started + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(early)
        entry: Any = {"type": "scale_up", "task_id": f"{what}-{number % 50}", "pod_count": "1"}
        await here.redis.xadd(STREAM, entry)

    async def done() -> bool:
        return await _acknowledged(here) >= settled_before + count

    await until(done, within=180, what="all are acknowledged")
    took = time.monotonic() - started
    await until(lambda: len(told.latencies) >= len(known) + count, within=60, what="all were seen")
    latencies = [each for name, each in told.latencies.items() if name not in known]
    return Measured(
        what=what,
        events=count,
        per_second=count / took,
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        cpu=(cpu_seconds(replica.pid) - before) / count * 1000,
        rss=replica.rss,
    )


async def _acknowledged(here: Scene) -> int:
    groups: Any = await here.redis.xinfo_groups(STREAM)
    return int(groups[0]["entries-read"] or 0) - int(groups[0]["pending"]) if groups else 0


async def rates(kubeconfig: Path, *, kind: str) -> list[Measured]:
    """Each rate, and a burst, in a namespace and with an orchestrator of its own."""
    rows: list[Measured] = []
    for rate in (*RATES, 0):
        namespace = f"bench-{secrets.token_hex(4)}"
        await create_namespace(kubeconfig, namespace)
        async with scene(kubeconfig, namespace) as here:
            settings = here.settings(QUICK)
            if kind == "unscheduled":
                settings = unscheduled(settings)
            async with here.replica(settings) as replica, births(here.kube, here.pods) as told:
                await until(lambda: replica_reads(here), what="the group is there")
                what = f"{rate} a second" if rate else f"{BURST} at once"
                count = rate * SECONDS[rate] if rate else BURST
                rows.append(await measure(here, replica, told, what=what, count=count, rate=rate))
                print(kind, rows[-1], flush=True)
                if kind == "running":
                    await here.until_gone(within=240)
        await delete_namespace(kubeconfig, namespace)
        await until(partial(gone, kubeconfig, namespace), within=120, every=0.5, what="the namespace is gone")
    return rows


async def replica_reads(here: Scene) -> bool:
    """Whether the consumer group exists."""
    return bool(await here.redis.exists(STREAM))


async def gone(kubeconfig: Path, namespace: str) -> bool:
    """Whether nothing of a namespace is left to take CPU from the next measurement."""
    async with await KubeClient.connect(kubeconfig) as kube:
        found = await kube.get("/api/v1/namespaces")
        return namespace not in {each["metadata"]["name"] for each in found["items"]}


async def memory(kubeconfig: Path) -> tuple[float, float, float]:
    """MiB without workers, with 500 that run and are followed, and after they have gone."""
    namespace = f"bench-{secrets.token_hex(4)}"
    await create_namespace(kubeconfig, namespace)
    async with scene(kubeconfig, namespace) as here:
        settings = here.settings("echo here; exec sleep 3600", logs={"streams": 1000})
        async with here.replica(settings) as replica:
            await asyncio.sleep(1)  # what a start allocates for the moment has gone
            empty = replica.rss
            for number in range(HELD // 5):
                await here.scale_up(f"held-{number}", 5)

            async def all_run() -> bool:
                return sum(each.phase == "Running" for each in await here.workers()) == HELD

            await until(all_run, within=180, every=1, what="all run")
            received = here.handler.received
            await until(
                lambda: sum(bool(received.lines(name)) for name in list(received.entries)) == HELD,
                within=60,
                every=0.5,
                what="all logs are followed",
            )
            full = replica.rss
            for number in range(HELD // 5):
                await here.scale_down(f"held-{number}", 0)
            await here.until_gone(within=240)
            after = replica.rss
    await delete_namespace(kubeconfig, namespace)
    return empty, full, after


def table(kind: str, rows: list[Measured]) -> str:
    """As Markdown."""
    head = f"| {kind} pods | events | events/s | p50, ms | p99, ms | CPU s per 1,000 events | RSS, MiB |"
    lines = [
        f"| {each.what} | {each.events} | {each.per_second:.1f} | {each.p50 * 1000:.0f} | {each.p99 * 1000:.0f}"
        f" | {each.cpu:.2f} | {each.rss:.0f} |"
        for each in rows
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|", *lines])


async def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of the orchestrator.")
    parser.add_argument("--report", type=Path, help="a Markdown file whose section of figures is replaced")
    arguments = parser.parse_args()
    kubeconfig = Path(os.environ["KUBECONFIG"])
    tables = [table(kind, await rates(kubeconfig, kind=kind)) for kind in ("running", "unscheduled")]
    empty, full, after = await memory(kubeconfig)
    rss = (
        f"RSS: {empty:.0f} MiB without workers, {full:.0f} MiB with {HELD} that run and whose logs are"
        f" followed, {after:.0f} MiB when they have gone."
    )
    text = "\n\n".join([*tables, rss])
    print(text)
    if arguments.report is not None:
        write_section(arguments.report, "figures", text)


if __name__ == "__main__":
    asyncio.run(main())
