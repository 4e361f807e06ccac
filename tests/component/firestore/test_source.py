"""The source: who reads, how often, at what cost, and what it leaves behind."""

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources import firestore as firestore_module
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firestore import BACKEND
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings
from tests.component.firestore.harness import Costs, connected, context, fill, queue, running
from tests.waiting import until


class Stepping:
    """A clock whose sleepers go on one at a time, when told."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._steps = asyncio.Semaphore(0)

    def time(self) -> float:
        return 1_790_000_000.0 + len(self.slept)

    def monotonic(self) -> float:
        return float(len(self.slept))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._steps.acquire()

    async def step(self) -> None:
        """Lets one sleeper go on, and waits until it sleeps again."""
        before = len(self.slept)
        self._steps.release()
        await until(lambda: len(self.slept) > before, within=10, every=0.002)


class Replica:
    """One of two replicas that share readings."""

    def __init__(self) -> None:
        self.leads = False
        self.given: list[Reading] = []

    def reads(self) -> bool:
        return self.leads

    async def give(self, reading: Reading, meaning: str) -> None:
        self.given.append(reading)

    async def take(self, queue: str, meaning: str) -> Reading | None:
        return self.given[-1] if self.given else None


async def test_it_reads_now_and_then_and_says_what_that_cost(project: str) -> None:
    costs, clock = Costs(), Stepping()
    source = BACKEND.source(queue(project).settings, context(clock=clock, costs=costs))
    source.set_queues([dataclasses.replace(queue(project), interval=0.1)])
    async with connected(project) as client:
        await fill(client, {"a": {"createdAt": 1_790_000_000_000}})
        async with running(source) as heard:
            await until(lambda: clock.slept, within=10)
            assert costs.amounts == {("q", "document_reads"): 7.0}
            await clock.step()
            assert costs.amounts == {("q", "document_reads"): 14.0}
            assert [each.waiting for each in heard if isinstance(each, Reading)] == [1, 1]
            assert all(8.0 <= each <= 10.0 for each in clock.slept), "an interval has a minimum"


async def test_only_one_replica_reads_and_the_others_take_its_readings(project: str) -> None:
    replica, costs, clock = Replica(), Costs(), Stepping()
    there = queue(project)
    source = BACKEND.source(there.settings, context(clock=clock, sharing=replica, costs=costs))
    source.set_queues([there])
    async with running(source) as heard:
        await until(lambda: clock.slept, within=10)
        assert isinstance(heard[0], ReadFailure)
        assert "has offered no reading" in heard[0].reason
        theirs = Reading(queue="q", measured_at=5.0, waiting=3)
        replica.given.append(theirs)
        await clock.step()
        await clock.step()
        assert heard[1:] == [theirs], "the same reading is news once"
        assert not costs.amounts, "and was not paid for"
        replica.leads = True
        await clock.step()
        assert heard[2:] == replica.given[1:]
        assert isinstance(heard[2], Reading)
        assert heard[2].waiting == 0


async def test_queues_come_and_go(project: str) -> None:
    first = queue(project)
    second = dataclasses.replace(first, name="r")
    source = BACKEND.source(first.settings, context())
    source.set_queues([first])
    async with running(source) as heard:
        await until(lambda: {each.queue for each in heard} == {"q"}, within=10)
        source.set_queues([first, second])
        await until(lambda: {each.queue for each in heard} == {"q", "r"}, within=10)
        assert sum(each.queue == "q" for each in heard) == 1, "the first went on as it was"
        source.set_queues([])
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{}", "is not one"), (json.dumps({"type": "service_account"}), "is not one")],
)
async def test_a_key_file_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, words: str
) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    settings = FirestoreSettings(collection="jobs", project="demo", service_account_file=file)
    with pytest.raises(SourceError, match=words):
        async with running(BACKEND.source(settings, context())):
            await asyncio.to_thread(firestore_module.connect, settings)


async def test_no_credentials_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(SourceError, match="there are no credentials") as raised:
        firestore_module.connect(FirestoreSettings(collection="jobs"))
    assert raised.value.code == "unauthorized"


def test_nothing_of_googles_is_imported_before_it_runs() -> None:
    program = (
        "import sys; import ottoscaler.adapter.sources.firestore;"
        "print([name for name in sys.modules if name.partition('.')[0] in ('google', 'firebase_admin', 'grpc')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
