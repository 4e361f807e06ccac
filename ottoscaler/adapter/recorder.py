"""Readings over time as a file, to replay against an HPA before it is trusted.

CSV, one row for each queue and sample: `time` (RFC 3339, UTC), `queue`, the counts, the age of the oldest
waiting job in seconds, and `error`. A queue that could not be measured has an error and no counts:
the replay must hold there, as an HPA does, and never take it for zero.
"""

import csv
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TextIO

import msgspec

from ottoscaler.adapter.config.model import Config
from ottoscaler.adapter.evaluation import Moment, format_time
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.sources.base import SourceContext
from ottoscaler.adapter.status import QueueStatus, queue_status
from ottoscaler.adapter.supervisor import Supervisor
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

COLUMNS = (
    "time",
    "queue",
    "waiting",
    "processing",
    "stalled",
    "failed",
    "demand",
    "oldest_waiting_seconds",
    "error",
)
Sample = Callable[[], Awaitable[Sequence[QueueStatus]]]
"""Gives what is known of every queue now. May raise `SampleError`."""


class SampleError(Exception):
    """Nothing could be learned this time; the message is for people."""


class _Status(msgspec.Struct):
    queues: list[QueueStatus]


@asynccontextmanager
async def own_sources(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Sample]:
    """Reads the queues of `config` itself, as the adapter would."""
    clock = SYSTEM_CLOCK
    readings = Readings(clock)
    async with Supervisor(readings, SourceContext(clock=clock, environ=environ)) as supervisor:
        supervisor.apply(config)

        async def sample() -> Sequence[QueueStatus]:
            at = Moment(clock.time(), clock.monotonic())
            return [queue_status(state, at) for state in readings]

        yield sample


@asynccontextmanager
async def running_adapter(url: str) -> AsyncIterator[Sample]:
    """Asks the status page at `url` (`http://localhost:8080`) of an adapter that runs."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def sample() -> Sequence[QueueStatus]:
            try:
                async with session.get(f"{url.rstrip('/')}/status", params={"format": "json"}) as answer:
                    body = await answer.read()
                    return msgspec.json.decode(body, type=_Status).queues
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError) as error:
                raise SampleError(f"{url} gives no status: {error}") from error

        yield sample


async def record(
    sample: Sample,
    out: TextIO,
    *,
    interval: float,
    samples: int | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Writes a sample every `interval` seconds, `samples` times or until cancelled.

    The first is taken after one interval, when sources have had time to measure. Rows are flushed at
    each sample, so that an interrupted recording is whole. Raises `SampleError`.
    """
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    out.flush()
    due = clock.monotonic()
    taken = 0
    while samples is None or taken < samples:
        due += interval
        await clock.sleep(max(0.0, due - clock.monotonic()))
        time = format_time(clock.time())
        writer.writerows(_row(time, status) for status in await sample())
        out.flush()
        taken += 1


def _row(time: str, status: QueueStatus) -> list[object]:
    if status.state not in {"fresh", "held"}:
        return [time, status.queue, *[""] * 6, status.error or status.state]
    counts = (status.waiting, status.processing, status.stalled, status.failed, status.demand)
    oldest = "" if status.oldest_waiting_seconds is None else status.oldest_waiting_seconds
    return [time, status.queue, *counts, oldest, status.error or ""]
