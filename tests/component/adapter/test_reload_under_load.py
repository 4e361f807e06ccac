"""A hundred reloads, good and bad files mixed: nobody who asks for an unchanged queue notices."""

import asyncio
import signal
from pathlib import Path

from ottoscaler.adapter.client import MetricsClient
from tests.component.adapter.installed import Spool
from tests.component.adapter.running import Adapter, running
from tests.waiting import until

LOCAL = "api: {address: '127.0.0.1:0'}\nhttp: {address: '127.0.0.1:0'}\n"
RELOADS = 100
BAD = ("queues: [", "queues: [{name: jobs}]", "queues: []\nqueues: []", "", "queues: [{nam: jobs}]")


async def test_unchanged_queues_are_served_through_a_hundred_reloads(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    spool.add("a", "b")
    path = tmp_path / "config.yaml"

    def good(number: int) -> str:
        others = [spool.entry(f"other-{n}") for n in range(number % 3)]
        return f"{LOCAL}queues: [{', '.join([spool.entry('jobs'), *others])}]\n# {number}\n"

    path.write_text(good(0))
    async with running(path, environ) as adapter:
        answers: list[str] = []
        asking = asyncio.create_task(_ask(adapter, answers))
        try:
            for number in range(1, RELOADS + 1):
                path.write_text(BAD[number % len(BAD)] if number % 4 == 0 else good(number))
                adapter.process.send_signal(signal.SIGHUP)
                await until(lambda number=number: _reloads(adapter) >= number, every=0.005)
        finally:
            asking.cancel()
        assert not asking.done() or not asking.exception(), "every answer was good"
        assert set(answers) == {"2"}
        assert len(answers) > RELOADS
        assert len(adapter.events("configuration refused, the old one stays in use")) >= RELOADS // 4
        status = await adapter.status()
        assert [queue["queue"] for queue in status["queues"]] == ["jobs"] + [
            f"other-{n}" for n in range((RELOADS - 1) % 3)
        ]


def _reloads(adapter: Adapter) -> int:
    refused = adapter.events("configuration refused, the old one stays in use")
    return len(refused) + len(adapter.events("configuration applied"))


async def _ask(adapter: Adapter, answers: list[str]) -> None:
    """Asks again and again on one connection; a failure ends it."""
    server, ca_file, token = adapter.access[1], Path(adapter.access[3]), adapter.access[5]
    async with MetricsClient.direct(server, token=token, ca_file=ca_file) as client:
        while True:
            answer = await client.read("queue_demand", namespace="default", selector="queue=jobs")
            answers.extend(item["value"] for item in answer["items"])
            await asyncio.sleep(0.002)
