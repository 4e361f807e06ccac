"""What producers and workers do while sources are measured; a process of its own, so that it delays nobody's clock.

    python -m tests.bench.load REDIS_PORT [RTDB_ADDRESS]

Streams change 50 times a second, entries added and worked off in turn; nodes of the database get five jobs a
second. It runs until it is told to end.
"""

import asyncio
import random
import sys
import time
import uuid
from typing import Any

import aiohttp
import redis.asyncio

from tests.bench.firebase import Writer, job

STREAMS, RTDB_QUEUES = 1000, 100
COMMANDS_PER_SECOND = 50
JOBS_PER_SECOND = 5
GROUP = "workers"


async def change_streams(port: int) -> None:
    """Until cancelled."""
    async with redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=2) as client:
        untyped: Any = client
        rng, began, done = random.Random(3), time.monotonic(), 0
        while True:
            stream = f"s{rng.randrange(STREAMS)}"
            if done % 2:
                await untyped.xadd(stream, {"type": "scale_up", "pod_count": 3, "task_id": str(done)})
            else:
                for _, entries in await untyped.xreadgroup(GROUP, "pod-1", {stream: ">"}, count=1):
                    await untyped.xack(stream, GROUP, entries[0][0])
            done += 1
            await asyncio.sleep(max(0.0, began + done / COMMANDS_PER_SECOND - time.monotonic()))


async def change_database(address: str) -> None:
    """Until cancelled."""
    async with aiohttp.ClientSession() as session:
        writer, number = Writer(session, address), 0
        while True:
            path = f"requestedJobs/q{number % RTDB_QUEUES}/{uuid.uuid4()}"
            await writer.write("PUT", path, job(time.time()))
            number += 1
            await asyncio.sleep(1 / JOBS_PER_SECOND)


async def main(arguments: list[str]) -> None:
    """Reads the command line."""
    async with asyncio.TaskGroup() as group:
        group.create_task(change_streams(int(arguments[0])))
        if len(arguments) > 1:
            group.create_task(change_database(arguments[1]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
