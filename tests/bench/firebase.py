"""Figures of the Firebase sources: how soon a job is seen, what a deep queue costs, what many queues cost.

    python -m tests.bench.firebase latency|deep|many [NUMBER]

The database, the adapter and the writer are three processes; the adapter is asked through its API.
"""

import asyncio
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.adapter_process import adapter, rtdb_process
from tests.bench.figures import Figure, quantile

PATH = "requestedJobs/q"
INPUT_BYTES = 20 * 1024
CHANGES_PER_SECOND = 5


def queue(address: str, *, name: str = "q", path: str = PATH, **options: Any) -> dict[str, Any]:
    """A queue of the configuration."""
    return {"name": name, "firebase": {"databaseURL": f"http://{address}/?ns=demo", "path": path}, **options}


def job(now: float, *, inputs: str = "") -> dict[str, Any]:
    """A job as a producer writes it."""
    return {"createdAt": int(now * 1000), "status": "pending", "inputs": {"text": inputs}}


class Writer:
    """Writes to the database as producers and generators do."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def write(self, method: str, path: str, body: Any = None) -> None:
        url = f"http://{self._address}/{path}.json"
        async with self._session.request(method, url, json=body, params={"print": "silent"}) as answer:
            answer.raise_for_status()

    async def bytes_streamed(self) -> int:
        """Bytes of event streams that the database has sent."""
        async with self._session.post(f"http://{self._address}/.control/faults", json=[]) as answer:
            return int((await answer.json())["bytesStreamed"])


async def latency(writes: int = 1000) -> list[Figure]:
    """From the moment at which a writer begins to write a job until the API serves the new number."""
    with tempfile.TemporaryDirectory() as directory:
        async with rtdb_process() as (address, _), aiohttp.ClientSession() as session:
            writer, rng = Writer(session, address), random.Random(1)
            async with adapter({"queues": [queue(address)]}, Path(directory)) as running:
                await running.becomes("q", 0)
                seconds: list[float] = []
                for count in range(1, writes + 1):
                    await asyncio.sleep(rng.uniform(0.0, 0.05))
                    began = time.monotonic()
                    await writer.write(
                        "PUT", f"{PATH}/{uuid.UUID(int=rng.getrandbits(128))}", job(time.time())
                    )
                    seconds.append(await running.becomes("q", count) - began)
    p50, p99 = quantile(seconds, 0.5), quantile(seconds, 0.99)
    found = f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, max {max(seconds) * 1e3:.1f} ms"
    what = f"RTDB: job written → value in the API, {writes:,} writes at random times"
    return [Figure(what, found, "p99 250 ms", p99 <= 0.25)]


async def deep(jobs: int = 10_000) -> list[Figure]:
    """Memory while connecting to a deep node, and bytes while it changes."""
    with tempfile.TemporaryDirectory() as directory:
        async with rtdb_process() as (address, _), aiohttp.ClientSession() as session:
            writer, inputs = Writer(session, address), "x" * INPUT_BYTES
            names = [str(uuid.uuid4()) for _ in range(jobs)]
            now = time.time()
            for start in range(0, jobs, 200):
                batch = {name: job(now, inputs=inputs) for name in names[start : start + 200]}
                await writer.write("PATCH", PATH, batch)
            async with adapter({"queues": []}, Path(directory)) as running:
                idle = running.process.rss_mib()
            async with adapter({"queues": [queue(address)]}, Path(directory)) as running:
                began = time.monotonic()
                connected = await running.becomes("q", jobs, within=180, every=0.05)
                peak, first = running.process.peak_rss_mib(), await writer.bytes_streamed()
                settled = running.process.rss_mib()
                cpu = running.process.cpu_seconds()
                changes = await _change(writer, names, inputs, seconds=60)
                spent = await writer.bytes_streamed() - first
                used = running.process.cpu_seconds() - cpu
    what = f"RTDB: {jobs:,} jobs with {INPUT_BYTES // 1024} KiB each"
    memory = f"{peak:.1f} MiB ({idle:.1f} without a queue, {settled:.1f} afterwards)"
    bytes_a_minute = (
        f"{spent / 1024:.0f} KiB, {spent / changes:.0f} bytes a change, {used / 60:.2%} of a core"
    )
    return [
        Figure(f"{what}: peak RSS of the adapter while connecting", memory, "120 MiB", peak <= 120),
        Figure(f"{what}: snapshot", f"{first / 1e6:.0f} MB, served after {connected - began:.1f} s"),
        Figure(f"{what}: a minute at {changes / 60:.1f} changes/s, one new job in 20", bytes_a_minute),
    ]


async def _change(writer: Writer, names: list[str], inputs: str, *, seconds: float) -> int:
    """Changes as a working queue sees them; how many."""
    rng, changes = random.Random(2), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        path, now = f"{PATH}/{rng.choice(names)}", time.time()
        match changes % 20:
            case 0:
                await writer.write("PUT", f"{PATH}/{uuid.uuid4()}", job(now, inputs=inputs))
            case 1 | 2:
                claim = {"assignedPodId": "generator-1", "status": "processing", "lastHeartbeat": now}
                await writer.write("PATCH", path, claim)
            case 3:
                await writer.write("DELETE", path)
            case _:
                await writer.write("PATCH", path, {"lastHeartbeat": now})
        changes += 1
        await asyncio.sleep(max(0.0, end - seconds + changes / CHANGES_PER_SECOND - time.monotonic()))
    return changes


async def many(queues: int = 100) -> list[Figure]:
    """CPU and memory of many followed queues at 5 s freshness, with one change a second among them."""
    with tempfile.TemporaryDirectory() as directory:
        async with rtdb_process() as (address, _), aiohttp.ClientSession() as session:
            writer = Writer(session, address)
            entries = [
                queue(address, name=f"q{number}", path=f"requestedJobs/q{number}", interval="5s")
                for number in range(queues)
            ]
            async with adapter({"queues": entries}, Path(directory)) as running:
                for number in range(queues):
                    await running.becomes(f"q{number}", 0)
                before, began = running.process.cpu_seconds(), time.monotonic()
                for number in range(30):
                    path = f"requestedJobs/q{number % queues}/{uuid.uuid4()}"
                    await writer.write("PUT", path, job(time.time()))
                    await asyncio.sleep(1.0)
                share = (running.process.cpu_seconds() - before) / (time.monotonic() - began)
                found = f"{share:.1%} of a core, {running.process.rss_mib():.1f} MiB"
                return [Figure(f"RTDB: {queues} followed queues at 5 s freshness", found)]


COMMANDS: dict[str, Callable[..., Coroutine[Any, Any, list[Figure]]]] = {
    "latency": latency,
    "deep": deep,
    "many": many,
}


def main(arguments: list[str]) -> None:
    """Runs the named figure, all of them when none is named."""
    for name in arguments[:1] or list(COMMANDS):
        numbers = [int(each) for each in arguments[1:2]]
        for figure in asyncio.run(COMMANDS[name](*numbers)):
            print(figure.line)


if __name__ == "__main__":
    main(sys.argv[1:])
