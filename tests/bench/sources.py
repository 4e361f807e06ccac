"""What many queues cost, and how soon work is seen: the figures of the sources, each with its limit.

    python -m tests.bench.sources [--report FILE] [together] [streams] [push] [poll] [deep]

The adapter, its backends and those who change them are processes of their own; the adapter is asked through
its API. Exit status 1 when a limit is missed.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import redis.asyncio

from tests.bench import firebase
from tests.bench.adapter_process import Adapter, adapter, load_process, rtdb_process
from tests.bench.figures import Figure, quantile, table
from tests.bench.load import COMMANDS_PER_SECOND, GROUP, JOBS_PER_SECOND, RTDB_QUEUES, STREAMS
from tests.redis.server import RedisServer
from tests.waiting import until

SECONDS = 60.0
"""Of each of the two parts of a measurement: processor time without questions, and questions."""


def _queues(url: str, *, interval: str = "5s") -> list[dict[str, Any]]:
    return [
        {
            "name": f"s{number}",
            "interval": interval,
            "redis": {"url": url, "stream": f"s{number}", "group": GROUP},
        }
        for number in range(STREAMS)
    ]


async def _fill(port: int) -> None:
    """Every stream has been trimmed once, waits with 10 entries and has 3 in work."""
    async with redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=2) as client:
        for number in range(STREAMS):
            pipe: Any = client.pipeline(transaction=False)
            for entry in range(15):
                pipe.xadd(f"s{number}", {"type": "scale_up", "pod_count": 3, "task_id": f"task-{entry}"})
            pipe.xtrim(f"s{number}", maxlen=13, approximate=False)
            pipe.xgroup_create(f"s{number}", GROUP, "0")
            pipe.xreadgroup(GROUP, "pod-1", {f"s{number}": ">"}, count=3)
            await pipe.execute()


async def _latencies(adapters: Sequence[Adapter], queue: str, seconds: float) -> list[list[float]]:
    """Milliseconds of answers of each adapter, asked in turn every 10 ms, so that a busy machine hits all alike."""
    found: list[list[float]] = [[] for _ in adapters]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for each, into in zip(adapters, found, strict=True):
            began = time.perf_counter()
            status, body = await each.ask(queue)
            into.append((time.perf_counter() - began) * 1e3)
            assert status == 200, body
            await asyncio.sleep(0.01)
    return found


async def _measure(what: str, queues: list[dict[str, Any]], directory: Path) -> list[Figure]:
    """Of an adapter with all `queues`, beside one that has a single quiet one."""
    (directory / "idle").mkdir()
    async with AsyncExitStack() as stack:
        idle_queue = {**queues[0], "interval": "60s"}
        idle = await stack.enter_async_context(adapter({"queues": [idle_queue]}, directory / "idle"))
        await until(lambda: _is_served(idle, "s0"), what="s0")
        running = await stack.enter_async_context(adapter({"queues": queues}, directory))
        began = time.monotonic()
        for queue in (queues[0], queues[-1], queues[STREAMS - 1]):
            await until(lambda name=queue["name"]: _is_served(running, name), what=queue["name"])
        first = time.monotonic() - began
        share = await _cpu_share(running, asyncio.sleep(SECONDS))
        rss = running.process.rss_mib()
        quiet: list[float] = []
        busy: list[float] = []

        async def ask() -> None:
            both = await _latencies([idle, running], "s0", SECONDS)
            quiet.extend(both[0])
            busy.extend(both[1])

        asked = await _cpu_share(running, ask())
        before, meanwhile = quantile(quiet, 0.99), quantile(busy, 0.99)
        rate = len(busy) / SECONDS
        return [
            Figure(f"{what}: CPU of one core", f"{share:.1%}", "5 %", share <= 0.05),
            Figure(
                f"{what}: RSS",
                f"{rss:.1f} MiB (peak {running.process.peak_rss_mib():.1f})",
                "100 MiB",
                rss <= 100,
            ),
            Figure(
                f"{what}: p99 of the API, beside an adapter with one quiet queue",
                f"{meanwhile:.2f} ms / {before:.2f} ms = {meanwhile / before:.2f} ({len(busy)} answers each)",
                "1.5",
                meanwhile <= 1.5 * before,
            ),
            Figure(
                f"{what}: p50 of the same", f"{quantile(busy, 0.5):.2f} ms / {quantile(quiet, 0.5):.2f} ms"
            ),
            Figure(f"{what}: CPU while asked {rate:.0f} times a second as well", f"{asked:.1%}"),
            Figure(f"{what}: from the first answer of the API to the readings of all", f"{first:.2f} s"),
        ]


async def _cpu_share(running: Adapter, meanwhile: Awaitable[None]) -> float:
    cpu, began = running.process.cpu_seconds(), time.monotonic()
    await meanwhile
    return (running.process.cpu_seconds() - cpu) / (time.monotonic() - began)


async def _is_served(running: Adapter, queue: str) -> bool:
    return await running.value(queue) is not None


async def streams() -> list[Figure]:
    """1,000 streams of one Redis."""
    with tempfile.TemporaryDirectory() as directory, RedisServer() as server:
        await _fill(server.port)
        async with load_process(str(server.port)):
            return await _measure(f"{STREAMS:,} streams", _queues(server.url), Path(directory))


async def together() -> list[Figure]:
    """The same and 100 RTDB queues, followed by their event streams."""
    with tempfile.TemporaryDirectory() as directory, RedisServer() as server:
        await _fill(server.port)
        async with rtdb_process() as (address, _), load_process(str(server.port), address):
            databases = [
                firebase.queue(address, name=f"q{number}", path=f"requestedJobs/q{number}", interval="5s")
                for number in range(RTDB_QUEUES)
            ]
            what = f"{STREAMS:,} streams and {RTDB_QUEUES} RTDB queues"
            return await _measure(what, _queues(server.url) + databases, Path(directory))


async def poll(writes: int = 60, queues: int = 5) -> list[Figure]:
    """XADD → value in the API, with `interval: 1s`; so many writes to each of so many streams."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as directory, RedisServer() as server:
        async with redis.asyncio.Redis(host="127.0.0.1", port=server.port, protocol=2) as client:
            entries = _queues(server.url, interval="1s")[:queues]
            for entry in entries:
                await client.xgroup_create(entry["name"], GROUP, "0", mkstream=True)
            async with adapter({"queues": entries}, Path(directory)) as running, asyncio.TaskGroup() as group:
                for number, entry in enumerate(entries):
                    rng = random.Random(number)
                    group.create_task(_write(client, running, entry["name"], writes, rng, seconds))
    worst = max(seconds)
    found = f"p50 {quantile(seconds, 0.5):.2f} s, p99 {quantile(seconds, 0.99):.2f} s, max {worst:.2f} s"
    what = f"XADD → value in the API, `interval: 1s`, {len(seconds)} at random times"
    return [Figure(what, found, "max 1.1 s", worst <= 1.1)]


async def _write(
    client: Any, running: Adapter, stream: str, writes: int, rng: random.Random, seconds: list[float]
) -> None:
    await running.becomes(stream, 0)
    for count in range(1, writes + 1):
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        began = time.monotonic()
        await client.xadd(stream, {"task_id": str(count)})
        seconds.append(await running.becomes(stream, count, every=0.005) - began)


COMMANDS: dict[str, Callable[[], Coroutine[Any, Any, list[Figure]]]] = {
    "together": together,
    "push": firebase.latency,
    "poll": poll,
    "deep": firebase.deep,
    "streams": streams,
}
"""By name, in the order of their appearance."""
_USUAL = ("together", "push", "poll", "deep")


def main() -> int:
    """Measures what is named, the usual when nothing is; 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sources", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMMANDS))
    parser.add_argument("--report", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - COMMANDS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in arguments.names or _USUAL:
        for figure in asyncio.run(COMMANDS[name]()):
            figures.append(figure)
            print(figure.line, flush=True)
    if arguments.report is not None:
        arguments.report.write_text(_report(figures))
    return 0 if all(figure.is_met for figure in figures) else 1


def _report(figures: Sequence[Figure]) -> str:
    load = "/".join(f"{each:.1f}" for each in os.getloadavg())
    return f"""# Sources: scale and latency

Written by `make bench-sources` on {time.strftime("%Y-%m-%d")}: {os.cpu_count()} cores (load
average at the end {load}); loopback.

{table(figures)}

The adapter, redis-server, the Realtime Database ([ours](../decisions/0065-a-realtime-database-for-tests.md)) and the
process that changes both are processes of their own; the adapter runs standalone, is asked over TLS with a token, and
reads at 5 s freshness. Streams were trimmed once, hold 10 waiting entries and 3 in work, and change
{COMMANDS_PER_SECOND} times a second; the database gets {JOBS_PER_SECOND} jobs a second. For the latency of the API two adapters
are asked in turn, so that the machine's other work hits both.
"""


if __name__ == "__main__":
    sys.exit(main())
