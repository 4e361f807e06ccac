"""What many queues cost: 1,000 streams of one Redis, alone and together with 100 RTDB queues, at 5 s freshness;
and how soon an entry is seen.

    python -m tests.bench.sources [streams|together|latency]

The adapter is a process of its own and is asked through its API. Streams change all the while: 50 commands
of producers and workers a second, spread over all of them.
"""

import asyncio
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio

from tests.bench.adapter_process import Adapter, adapter, rtdb_process
from tests.bench.firebase import Writer, job, quantile
from tests.bench.firebase import queue as rtdb_queue
from tests.redis.server import RedisServer
from tests.waiting import until

STREAMS, RTDB_QUEUES = 1000, 100
SECONDS = 60.0
COMMANDS_PER_SECOND = 50
_GROUP = "workers"


def _queues(url: str, *, interval: str = "5s") -> list[dict[str, Any]]:
    return [
        {
            "name": f"s{number}",
            "interval": interval,
            "redis": {"url": url, "stream": f"s{number}", "group": _GROUP},
        }
        for number in range(STREAMS)
    ]


async def _fill(client: "redis.asyncio.Redis") -> None:
    """Every stream has been trimmed once, waits with 10 entries and has 3 in work."""
    for number in range(STREAMS):
        pipe: Any = client.pipeline(transaction=False)
        for entry in range(15):
            pipe.xadd(f"s{number}", {"type": "scale_up", "pod_count": 3, "task_id": f"task-{entry}"})
        pipe.xtrim(f"s{number}", maxlen=13, approximate=False)
        pipe.xgroup_create(f"s{number}", _GROUP, "0")
        pipe.xreadgroup(_GROUP, "pod-1", {f"s{number}": ">"}, count=3)
        await pipe.execute()


async def _work(client: "redis.asyncio.Redis", stopping: asyncio.Event) -> None:
    rng, began, done = random.Random(3), time.monotonic(), 0
    while not stopping.is_set():
        stream = f"s{rng.randrange(STREAMS)}"
        if done % 2:
            await client.xadd(stream, {"type": "scale_up", "pod_count": 3, "task_id": str(done)})
        else:
            untyped: Any = client
            for _, entries in await untyped.xreadgroup(_GROUP, "pod-1", {stream: ">"}, count=1):
                await client.xack(stream, _GROUP, entries[0][0])
        done += 1
        await asyncio.sleep(max(0.0, began + done / COMMANDS_PER_SECOND - time.monotonic()))


async def _change_database(address: str, stopping: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        writer, number = Writer(session, address), 0
        while not stopping.is_set():
            path = f"requestedJobs/q{number % RTDB_QUEUES}/{uuid.uuid4()}"
            await writer.write("PUT", path, job(time.time()))
            number += 1
            await asyncio.sleep(0.2)


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


def _say_latencies(what: str, found: Sequence[float]) -> float:
    p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
    print(f"  API {what}: p50 {p50:.2f} ms, p99 {p99:.2f} ms ({len(found)} answers)")
    return p99


async def _measure(queues: list[dict[str, Any]], directory: Path) -> None:
    (directory / "idle").mkdir()
    idle_queue = {**queues[0], "interval": "60s"}
    async with adapter({"queues": [idle_queue]}, directory / "idle") as idle:
        await until(lambda: _is_served(idle, "s0"), what="s0")
        async with adapter({"queues": queues}, directory) as running:
            began = time.monotonic()
            for queue in (queues[0], queues[-1], queues[STREAMS - 1]):
                await until(lambda name=queue["name"]: _is_served(running, name), what=queue["name"])
            print(f"  first readings after {time.monotonic() - began:.2f} s")
            cpu, began = running.process.cpu_seconds(), time.monotonic()
            await asyncio.sleep(SECONDS)
            share = (running.process.cpu_seconds() - cpu) / (time.monotonic() - began)
            rss, peak = running.process.rss_mib(), running.process.peak_rss_mib()
            print(f"  {share:.1%} of a core, {rss:.1f} MiB (peak {peak:.1f}); to reach: 5 %, 100 MiB")
            quiet, busy = await _latencies([idle, running], "s0", SECONDS)
            before, meanwhile = (
                _say_latencies("beside it, with one queue", quiet),
                _say_latencies("meanwhile", busy),
            )
            print(f"  p99 meanwhile / p99 with one queue: {meanwhile / before:.2f}; to reach: 1.5")


async def _is_served(running: Adapter, queue: str) -> bool:
    return await running.value(queue) is not None


@asynccontextmanager
async def _redis() -> AsyncIterator[tuple[RedisServer, "redis.asyncio.Redis"]]:
    with RedisServer() as server:
        async with redis.asyncio.Redis(host="127.0.0.1", port=server.port, protocol=2) as client:
            yield server, client


async def streams() -> None:
    """1,000 streams of one Redis."""
    print(f"{STREAMS} streams at 5 s freshness, {COMMANDS_PER_SECOND} commands/s on them:")
    with tempfile.TemporaryDirectory() as directory:
        async with _redis() as (server, client), asyncio.TaskGroup() as group:
            await _fill(client)
            stopping = asyncio.Event()
            group.create_task(_work(client, stopping))
            await _measure(_queues(server.url), Path(directory))
            stopping.set()


async def together() -> None:
    """The same and 100 RTDB queues, followed by their event streams."""
    print(f"{STREAMS} streams and {RTDB_QUEUES} RTDB queues at 5 s freshness, both changing:")
    with tempfile.TemporaryDirectory() as directory:
        async with _redis() as (server, client), rtdb_process() as (address, _), asyncio.TaskGroup() as group:
            await _fill(client)
            stopping = asyncio.Event()
            group.create_task(_work(client, stopping))
            group.create_task(_change_database(address, stopping))
            databases = [
                rtdb_queue(address, name=f"q{number}", path=f"requestedJobs/q{number}", interval="5s")
                for number in range(RTDB_QUEUES)
            ]
            await _measure(_queues(server.url) + databases, Path(directory))
            stopping.set()


async def latency(writes: int = 200) -> None:
    """XADD → value in the API, with `interval: 1s`."""
    rng, seconds = random.Random(1), []
    with tempfile.TemporaryDirectory() as directory:
        async with _redis() as (server, client):
            await client.xgroup_create("s0", _GROUP, "0", mkstream=True)
            async with adapter(
                {"queues": _queues(server.url, interval="1s")[:1]}, Path(directory)
            ) as running:
                await running.becomes("s0", 0)
                for count in range(1, writes + 1):
                    await asyncio.sleep(rng.uniform(0.0, 1.0))
                    began = time.monotonic()
                    await client.xadd("s0", {"task_id": str(count)})
                    seconds.append(await running.becomes("s0", count) - began)
    print(
        f"XADD → value in the API with interval 1s, {writes} at random times: p50 {quantile(seconds, 0.5):.2f} s, "
        f"p99 {quantile(seconds, 0.99):.2f} s, max {max(seconds):.2f} s; to reach: at most 1.1 s"
    )


COMMANDS: dict[str, Callable[[], Awaitable[None]]] = {
    "streams": streams,
    "together": together,
    "latency": latency,
}


def main(arguments: list[str]) -> None:
    """Runs the named figure, all of them when none is named."""
    for name in arguments or list(COMMANDS):
        asyncio.run(COMMANDS[name]())  # type: ignore[arg-type]  # they are coroutines


if __name__ == "__main__":
    main(sys.argv[1:])
