"""A generator pod of the Firebase queue, true to the contract in what scaling sees of it.

It claims the oldest waiting job (a conditional write, so that two pods never hold one), marks it
`processing`, writes heartbeats, and finishes it when the gate opens: it is removed from the queue and
stored under `jobs/`. On SIGTERM it goes on with the job it holds, as the real one does for two hours.

    python -m tests.workloads.firebase_generator URL QUEUE    (pod name from $HOSTNAME)
"""

import asyncio
import os
import signal
import sys
import time
from typing import Any

import aiohttp

HEARTBEAT_SECONDS = 1.0
"""The real pods write one every 15 s to 30 s; tests are in more of a hurry."""


class Generator:
    """One pod's loop over one queue."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, queue: str, pod: str, stopping: asyncio.Event
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._queue = queue
        self._pod = pod
        self._stopping = stopping

    async def run(self) -> None:
        """Works jobs until stopped."""
        while not self._stopping.is_set():
            job = await self._claim()
            if job is not None:
                await self._work(job)
            else:
                await asyncio.sleep(0.2)

    async def _get(self, path: str, **headers: str) -> tuple[Any, str]:
        async with self._session.get(f"{self._url}/{path}.json", headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json(), answer.headers.get("ETag", "")

    async def _claim(self) -> str | None:
        jobs, _ = await self._get(f"requestedJobs/{self._queue}")
        waiting: list[tuple[float, str]] = [
            (job.get("createdAt", 0), key)
            for key, job in (jobs or {}).items()
            if not job.get("assignedPodId") and job.get("status") != "failed"
        ]
        for _, key in sorted(waiting):
            path = f"requestedJobs/{self._queue}/{key}"
            job, etag = await self._get(path, **{"X-Firebase-ETag": "true"})
            if job is None or job.get("assignedPodId"):
                continue
            now = time.time()
            claimed = job | {
                "assignedPodId": self._pod,
                "status": "processing",
                "claimedAt": now,
                "lastHeartbeat": now,
            }
            async with self._session.put(
                f"{self._url}/{path}.json", json=claimed, headers={"If-Match": etag}
            ) as answer:
                if answer.status == 200:
                    print("claimed", key, flush=True)
                    return key
        return None

    async def _work(self, job: str) -> None:
        path = f"requestedJobs/{self._queue}/{job}"
        while not (await self._get(f"gates/{self._queue}"))[0]:
            async with self._session.patch(
                f"{self._url}/{path}.json", json={"lastHeartbeat": time.time()}
            ) as answer:
                answer.raise_for_status()
            await asyncio.sleep(HEARTBEAT_SECONDS)
        async with self._session.put(f"{self._url}/jobs/{self._queue}/{job}.json", json={"by": self._pod}):
            pass
        async with self._session.delete(f"{self._url}/{path}.json"):
            pass
        print("finished", job, flush=True)


async def main(url: str, queue: str) -> None:
    """Runs until SIGTERM and until the job in hand is done; a backend that is away is tried again."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        generator = Generator(session, url, queue, os.environ["HOSTNAME"], stopping)
        while not stopping.is_set():
            try:
                await generator.run()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                print("away:", error, flush=True)
                await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
