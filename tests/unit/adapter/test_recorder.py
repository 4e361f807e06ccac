"""A recording holds what was measured, and a gap where nothing was."""

import csv
import io
from collections.abc import Sequence

import pytest

from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.recorder import record
from ottoscaler.adapter.status import QueueStatus, queue_status
from tests.unit.adapter.making import HandClock, failure, queue, reading

pytestmark = pytest.mark.looptime


async def test_each_sample_is_a_row_for_each_queue() -> None:
    clock = HandClock()
    readings = Readings(clock)
    readings.set_queues([queue("a", max_age=20), queue("b")])
    out = io.StringIO()

    async def sample() -> Sequence[QueueStatus]:
        if clock.wall - 1_790_000_000 < 20:
            readings.publish(reading("a", at=clock.wall, waiting=3, oldest_waiting_at=clock.wall - 4))
        else:
            readings.publish(failure("a", reason="refused"))
        return [queue_status(state, clock.moment()) for state in readings]

    await record(sample, out, interval=15, samples=3, clock=clock)
    rows = list(csv.DictReader(out.getvalue().splitlines()))
    assert [(row["time"], row["queue"], row["waiting"], row["demand"], row["error"]) for row in rows] == [
        ("2026-09-21T14:13:35Z", "a", "3", "3", ""),
        ("2026-09-21T14:13:35Z", "b", "", "", "unavailable"),
        ("2026-09-21T14:13:50Z", "a", "3", "3", "refused"),
        ("2026-09-21T14:13:50Z", "b", "", "", "unavailable"),
        ("2026-09-21T14:14:05Z", "a", "", "", "refused"),
        ("2026-09-21T14:14:05Z", "b", "", "", "unavailable"),
    ]
    assert rows[0]["oldest_waiting_seconds"] == "4.0"
