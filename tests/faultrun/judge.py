"""Compares what is served with the truth at its timestamp, and counts what it finds.

Every 20 ms it looks at all metrics of every queue together, as the API evaluates them, and asks the API itself,
over TLS, for one metric of one queue, in turn. The first knows the reading's exact time, the second that all
between the readings and the wire is as true.
"""

import asyncio
import itertools
from collections.abc import Iterable

from ottoscaler.adapter.evaluation import Measured, Moment, evaluate
from ottoscaler.adapter.readings import Readings
from tests.faultrun.clock import Span
from tests.faultrun.front import Front
from tests.faultrun.scene import Scene
from tests.faultrun.truth import METRICS, Values
from tests.faultrun.verdict import Verdict

EVERY_SECONDS = 0.02
_SLACK = 0.05
_BY_METRIC = {metric: index for index, metric in enumerate(METRICS)}


class Judge:
    """Looks and asks."""

    def __init__(self, readings: Readings, scene: Scene, front: Front) -> None:
        self.verdict = Verdict(scene.terms.recovery)
        self._readings = readings
        self._scene = scene
        self._front = front

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping`."""
        clock = self._scene.clock
        turns = itertools.cycle(itertools.product(self._scene.truths, METRICS))
        due = clock.monotonic()
        while not stopping.is_set():
            now = clock.monotonic()
            self.verdict.longest_stall = max(self.verdict.longest_stall, now - due)
            for name in self._scene.truths:
                self._look(name)
            await self._ask(*next(turns))
            due = max(now + EVERY_SECONDS, clock.monotonic())
            await asyncio.sleep(due - clock.monotonic())

    def measured_after(self, queue: str, moment: float) -> bool:
        """Whether what is served of a queue was measured after `moment` (monotonic)."""
        state = self._readings.get(queue)
        if state is None or state.reading is None or state.failure is not None:
            return False
        measured = state.reading.measured_at
        return any(span.start > moment for span in self._scene.spans(measured, measured))

    def _now(self) -> Moment:
        return Moment(self._scene.clock.time(), self._scene.clock.monotonic())

    def _look(self, queue: str) -> None:
        state = self._readings.get(queue)
        assert state is not None
        now = self._now()
        found = [evaluate(state, metric, now) for metric in METRICS]
        numbers = [each for each in found if isinstance(each, Measured)]
        self.verdict.looks += 1
        if len(numbers) < len(found):
            self.verdict.looks_without_number += 1
            return
        assert state.reading is not None
        values = tuple(each.value_milli // 1000 for each in numbers)
        measured = state.reading.measured_at
        spans = list(self._scene.spans(measured, measured))
        self._judge_age(spans, now.monotonic)
        truths = self._truths(queue, spans, walls=(now.wall,), took=state.reading.took or 0.0)
        if values in truths:
            return
        self.verdict.different.append(f"{queue}: {METRICS} served {values}, true were {truths[:5]}")
        zero_demand, nothing_waits = values[1] == 0, values[0] == 0
        if truths and (
            (zero_demand and all(truth[1] for truth in truths))
            or (nothing_waits and all(truth[0] for truth in truths))
        ):
            self.verdict.invented_zeros += 1

    async def _ask(self, queue: str, metric: str) -> None:
        asked = self._now()
        answer = await self._front.ask(metric, queue)
        heard = self._now()
        self.verdict.answers[answer.status] += 1
        if answer.status != 200:
            return
        spans = list(self._scene.spans(answer.timestamp, answer.timestamp + 1.0))
        self._judge_age(spans, asked.monotonic)
        walls = (asked.wall, heard.wall)
        truths = self._truths(queue, spans, walls=walls, took=self._scene.terms.reading)
        numbers = {truth[_BY_METRIC[metric]] for truth in truths}  # type: ignore[index]
        if answer.value in numbers:
            return
        self.verdict.different.append(f"{queue}: API served {metric} {answer.value}, true were {numbers}")
        self.verdict.invented_zeros += answer.value == 0 and bool(numbers)

    def _truths(
        self, queue: str, spans: Iterable[Span], *, walls: tuple[float, ...], took: float
    ) -> list[Values]:
        terms, log = self._scene.terms, self._scene.truths[queue]
        facts = [
            fact
            for span in spans
            for fact in log.between(span.start - terms.delivery, span.end + took + terms.taking + _SLACK)
        ]
        found = [fact.values(wall) for fact in facts for wall in walls]
        return [values for values in found if values is not None]

    def _judge_age(self, spans: Iterable[Span], now: float) -> None:
        age = min((now - span.end for span in spans), default=float("inf"))
        self.verdict.oldest = max(self.verdict.oldest, age)
        if age > self._scene.terms.max_age + self._scene.terms.skew + 2 * _SLACK:
            self.verdict.too_old += 1
