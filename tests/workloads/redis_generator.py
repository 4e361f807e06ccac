"""A worker pod of a Redis stream: reads one entry at a time in a consumer group, acknowledges when done.

    python -m tests.workloads.redis_generator URL STREAM GROUP    (consumer name from $HOSTNAME)

It holds its entry until the gate (the key `gate:STREAM`) is set.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError


async def work(client: "redis.asyncio.Redis", stream: str, group: str, stopping: asyncio.Event) -> None:
    """Takes entries until told to stop; finishes the one in hand first."""
    consumer = os.environ["HOSTNAME"]
    while not stopping.is_set():
        answer: Any = await client.xreadgroup(group, consumer, {stream: ">"}, count=1, block=500)
        for _, entries in answer or []:
            for entry, _fields in entries:
                print("claimed", entry, flush=True)
                while not await client.exists(f"gate:{stream}"):  # noqa: ASYNC110 - the gate is another process's
                    await asyncio.sleep(0.5)
                await client.xack(stream, group, entry)
                print("finished", entry, flush=True)


async def main(url: str, stream: str, group: str) -> None:
    """Runs until SIGTERM; a server that is away is tried again."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    client = redis.asyncio.Redis.from_url(url, decode_responses=True, protocol=2)
    try:
        while not stopping.is_set():
            try:
                await work(client, stream, group, stopping)
            except (RedisError, OSError) as error:
                print("away:", error, flush=True)
                await asyncio.sleep(0.5)
    finally:
        await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
