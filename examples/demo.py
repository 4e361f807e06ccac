"""The main job on one machine: jobs come and go in a Redis stream, the external metric follows.

    make run

Starts a Redis server and the adapter in standalone mode (loopback, a token instead of a cluster), adds
and takes jobs, and reads the metric through the API each time it changes, as an HPA would. Everything
it starts ends with it.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import redis.asyncio

STREAM, GROUP, QUEUE = "otto:scale:events", "workers", "scale-events"
METRICS = ("queue_waiting", "queue_processing", "queue_demand")


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[int]:
    """A Redis on loopback: the real server where it is installed, else an embedded one. Yields its port."""
    port = free_port()
    program = shutil.which("redis-server")
    if program is None:
        async with _embedded_redis(port):
            yield port
        return
    arguments = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory))
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def _embedded_redis(port: int) -> AsyncIterator[None]:
    from embedded_redis import EmbeddedRedis

    print("redis-server is not installed: using an embedded stand-in")
    server = EmbeddedRedis(("127.0.0.1", port))
    serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await serving


@dataclass(frozen=True, slots=True)
class Adapter:
    """A running adapter and how to ask it."""

    server: str
    commands: tuple[str, str]
    """What a person can paste to read the metric: ours, and curl."""
    session: aiohttp.ClientSession

    async def read(self, metric: str) -> str:
        """The metric's value for the queue, or the words of the refusal."""
        selector = quote(f"queue={QUEUE}")
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/default/{metric}?labelSelector={selector}"
        async with self.session.get(self.server + path) as answer:
            body: Any = await answer.json()
            return str(body["items"][0]["value"]) if answer.status == 200 else str(body["message"])


@contextlib.asynccontextmanager
async def adapter(config: Path) -> AsyncIterator[Adapter]:
    """`ottoscaler adapter --standalone`, from the first line it prints to SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ottoscaler", "adapter", "--config", str(config), "--standalone"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        command = await asyncio.wait_for(process.stdout.readline(), 20)
        curl = (await process.stdout.readline()).decode().strip()
        if not curl:
            raise SystemExit("the adapter did not start: what it said is above")
        _, _, authority, _, header, url = shlex.split(curl)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
        name, _, value = header.partition(": ")
        async with aiohttp.ClientSession(headers={name: value}, connector=connector) as session:
            server = url[: url.index("/apis/")]
            yield Adapter(server, (command.decode().strip(), curl), session)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def installed(command: str) -> str:
    """`command` with the path of our program, unless a terminal finds it by its name."""
    name, _, arguments = command.partition(" ")
    if shutil.which(name):
        return command
    return f"{os.path.relpath(Path(sys.executable).parent / name)} {arguments}"


async def show(running: Adapter, what: str, expected: tuple[str, str, str]) -> None:
    """Waits (10 s at most) until the API says `expected` of `METRICS`, and prints it."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        seen = tuple([await running.read(metric) for metric in METRICS])
        if seen == expected:
            break
        if loop.time() - started > 10:
            raise SystemExit(f"after 10 s the API says {seen}, not {expected}")
        await asyncio.sleep(0.05)
    columns = "  ".join(f"{metric}={value:<3}" for metric, value in zip(METRICS, seen, strict=True))
    print(f"{what:<46}{columns} ({loop.time() - started:.2f} s)")


async def main() -> None:
    """Plays it once."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        async with redis_server(directory) as port:
            config = directory / "config.yaml"
            config.write_text(
                f"api: {{address: '127.0.0.1:{free_port()}'}}\n"
                f"http: {{address: '127.0.0.1:{free_port()}'}}\n"
                "log: {level: warning}\n"
                "queues:\n"
                f"  - name: {QUEUE}\n"
                "    interval: 250ms\n"
                f"    redis: {{url: 'redis://127.0.0.1:{port}/0', stream: '{STREAM}', group: {GROUP}}}\n"
            )
            await play(config, port)


async def play(config: Path, port: int) -> None:
    """Jobs come, are taken, and end; the metric follows."""
    async with redis.asyncio.Redis(port=port, protocol=2) as client:
        while True:
            with contextlib.suppress(redis.exceptions.ConnectionError):
                await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
                break
            await asyncio.sleep(0.05)
        async with adapter(config) as running:
            print(f"\nthe adapter answers on {running.server}; meanwhile, in another terminal:\n")
            ours, curl = running.commands
            print(f"  {installed(ours)}\n  {curl}\n")
            await show(running, "nothing waits", ("0", "0", "0"))
            for _ in range(5):
                await client.xadd(STREAM, {"type": "scale_up", "pod_count": "1", "task_id": "demo"})
            await show(running, "a producer adds 5 jobs", ("5", "0", "5"))
            taken: Any = await client.xreadgroup(GROUP, "worker-1", {STREAM: ">"}, count=2)
            await show(running, "a worker takes 2 (they stay in the demand)", ("3", "2", "5"))
            entries = [entry for _, found in taken for entry, _ in found]
            await client.xack(STREAM, GROUP, *entries)
            await show(running, "it finishes them", ("3", "0", "3"))
            await client.xtrim(STREAM, maxlen=1, approximate=False)
            await show(running, "the stream is trimmed to its last entry", ("1", "0", "1"))
            taken = await client.xreadgroup(GROUP, "worker-1", {STREAM: ">"})
            entries = [entry for _, found in taken for entry, _ in found]
            await client.xack(STREAM, GROUP, *entries)
            await show(running, "the last one is worked off", ("0", "0", "0"))
            if sys.stdin.isatty():
                print("\nleft running for you to look at; Ctrl-C ends it")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
