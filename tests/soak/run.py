"""A soak, in whatever time its loop runs: changes, faults, reloads and questions until the time is over.

The adapter is asked as an HPA asks; an answer is a value, or a 503 while its backend fails. What it holds is
sampled. At the end nothing fails any more, and every queue must show what is true.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.adapter_process import Adapter
from tests.faults.proxy import Fault
from tests.soak.backends import Backend
from tests.soak.flat import Sample

BAD_FILES = ("queues: [", '{"queues": [{"name": "x"}]}', "", '{"quues": []}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds, of the loop's clock."""

    duration: float
    warm_up: float
    """Before samples count."""
    sample: float = 10.0
    change: float = 0.2
    ask: float = 0.1
    fault: float = 10.0
    outage: float = 2.0
    reload: float = 10.0
    settle: float = 120.0
    """At the end, until every queue shows the truth."""


@dataclass(slots=True)
class Outcome:
    """What happened."""

    samples: list[Sample] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    """By HTTP status; 0: none."""
    changes: int = 0
    faults: int = 0
    reloads: int = 0
    refused: int = 0
    wrong: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    """At the end: served and true, where they differ."""


class Inside(NamedTuple):
    """What only the adapter's process can tell; zeros where it does not."""

    tasks: int = 0
    blocks: int = 0


class Soak:
    """One run against an adapter that is up."""

    def __init__(
        self,
        adapter: Adapter,
        config: Path,
        backends: Sequence[Backend],
        rng: random.Random,
        pace: Pace,
        *,
        inside: Callable[[], Inside] = Inside,
    ) -> None:
        self._adapter = adapter
        self._config = config
        self._backends = backends
        self._rng = rng
        self._pace = pace
        self._inside = inside
        self._names = [queue["name"] for backend in backends for queue in backend.queues()]
        self._stopping = False
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Until the time is over and the last word of each queue is known."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work)
                for work in (self._ask(), self._disturb(), self._reload(), self._sample(began))
            ]
            changing = group.create_task(self._change())
            await asyncio.sleep(self._pace.duration)
            for task in tasks:
                task.cancel()
            self._stopping = True
            await changing  # to the end of what it has begun
        for backend in self._backends:
            await backend.proxy.heal()
        await self._compare(loop.time() + self._pace.settle)
        return self.outcome

    async def _change(self) -> None:
        while not self._stopping:
            for backend in self._backends:
                await backend.change()
                self.outcome.changes += 1
            await asyncio.sleep(self._pace.change)

    async def _ask(self) -> None:
        while True:
            status, _ = await self._adapter.ask(self._rng.choice(self._names))
            self.outcome.answers[status] += 1
            await asyncio.sleep(self._pace.ask)

    async def _disturb(self) -> None:
        while True:
            await asyncio.sleep(self._pace.fault)
            proxy = self._rng.choice(self._backends).proxy
            await proxy.inflict(self._rng.choice(list(Fault)), after=self._rng.randrange(200))
            self.outcome.faults += 1
            await asyncio.sleep(self._pace.outage)
            await proxy.heal()

    async def _reload(self) -> None:
        """Queues come and go, intervals change, files are broken; those that are asked for stay."""
        good = self._config.read_text()
        while True:
            await asyncio.sleep(self._pace.reload)
            if self._rng.random() < 0.3:
                self._write(self._rng.choice(BAD_FILES))
                self.outcome.refused += 1
                continue
            configuration = json.loads(good)
            configuration["queues"] += self._passers_by(configuration["queues"])
            self._write(json.dumps(configuration))
            self.outcome.reloads += 1

    def _passers_by(self, queues: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        some = self._rng.sample(list(queues), min(len(queues), self._rng.randrange(4)))
        return [{**queue, "name": f"{queue['name']}-{self._rng.randrange(1000)}"} for queue in some]

    def _write(self, text: str) -> None:
        """As a ConfigMap does it: the new file takes the old one's place."""
        new = self._config.with_suffix(".new")
        new.write_text(text)
        new.replace(self._config)

    async def _sample(self, began: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._pace.warm_up)
        while True:
            process, inside = self._adapter.process, self._inside()
            self.outcome.samples.append(
                Sample(
                    at=loop.time() - began,
                    rss_mib=process.rss_mib(),
                    threads=_entries(f"/proc/{process.pid}/task"),
                    descriptors=_entries(f"/proc/{process.pid}/fd"),
                    tasks=inside.tasks,
                    blocks=inside.blocks,
                )
            )
            await asyncio.sleep(self._pace.sample)

    async def _compare(self, deadline: float) -> None:
        """Every queue shows the truth, or is noted after `deadline` of the loop's clock."""
        loop = asyncio.get_running_loop()
        true = {name: count for backend in self._backends for name, count in backend.waiting().items()}
        while True:
            wrong = {
                name: (served, count)
                for name, count in true.items()
                if (served := await self._adapter.value(name)) != count
            }
            if not wrong or loop.time() > deadline:
                self.outcome.wrong = wrong
                return
            await asyncio.sleep(0.5)


def _entries(directory: str) -> int:
    return sum(1 for _ in Path(directory).iterdir())
