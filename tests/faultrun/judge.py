"""Compares what is served with the truth at its timestamp, and counts what it finds."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ottoscaler.adapter.evaluation import Measured, Moment, evaluate
from ottoscaler.adapter.readings import Readings
from tests.faultrun.clock import JumpingClock
from tests.unit.adapter.firebase.truth import Truth

EVERY_SECONDS = 0.02
DELIVERY_SECONDS = 1.0
"""How long a write may be on its way: server, judge and adapter share one busy loop."""
STALLED_AFTER = 300.0
_REMEMBERED_SECONDS = 120.0
"""Longer than any reading is served."""
_METRICS = ("queue_waiting", "queue_demand", "queue_stalled", "queue_failed")
Values = tuple[int, ...]


@dataclass
class _Entry:
    since: float
    until: float
    truth: Truth


@dataclass
class TruthLog:
    """What a queue held, and when (monotonic). While a write is under way, the old and the new are true."""

    entries: list[_Entry] = field(default_factory=list)

    def begin(self, truth: Truth, moment: float) -> None:
        """A write begins that makes the queue hold this."""
        self.entries.append(_Entry(moment, float("inf"), truth))

    def done(self, moment: float) -> None:
        """The write has ended: what the queue held before is no longer true."""
        if len(self.entries) > 1:
            self.entries[-2].until = moment
        while self.entries[0].until < moment - _REMEMBERED_SECONDS:
            del self.entries[0]

    def between(self, start: float, end: float) -> Iterator[Truth]:
        """What it can have held at any time from `start` to `end`."""
        return (each.truth for each in self.entries if each.since <= end and each.until >= start)


def values_of(truth: Truth, wall: float) -> Values:
    """The metrics of a truth, as an adapter whose wall clock says `wall` should serve them."""
    silent = sum(heartbeat <= wall - STALLED_AFTER for heartbeat in truth.heartbeats)
    return (truth.waiting, truth.waiting + len(truth.heartbeats) - silent, silent, truth.failed)


@dataclass
class Verdict:
    """What a judge has found."""

    answers: int = 0
    refused: int = 0
    """Answers without a number: a 503."""
    different: list[str] = field(default_factory=list)
    invented_zeros: int = 0
    too_old: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    unseen: Counter[str] = field(default_factory=Counter)
    """Faults that no failure in the metrics speaks of."""
    slowest_recovery: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing false was served and nothing was hidden."""
        return not (self.different or self.invented_zeros or self.too_old or self.unseen)

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.faults.total()} faults ({kinds})\n"
            f"{self.answers} answers: {len(self.different)} differ from the truth, {self.invented_zeros} invented "
            f"zeros, {self.too_old} older than maxAge; {self.refused} refused (503); "
            f"{self.unseen.total()} faults not seen in metrics {dict(self.unseen) or ''}; "
            f"slowest recovery {self.slowest_recovery:.2f} s"
        )


class Judge:
    """Asks for every queue as the API would."""

    def __init__(
        self, readings: Readings, truths: Mapping[str, TruthLog], clock: JumpingClock, *, max_age: float
    ) -> None:
        self.verdict = Verdict()
        self._readings = readings
        self._truths = truths
        self._clock = clock
        self._max_age = max_age

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for name in self._truths:
                self._ask(name)
            await asyncio.sleep(EVERY_SECONDS)

    def measured_after(self, queue: str, moment: float) -> bool:
        """Whether what is served of a queue was measured after `moment` (monotonic)."""
        state = self._readings.get(queue)
        if state is None or state.reading is None or state.failure is not None:
            return False
        return any(when > moment for when in self._clock.moments(state.reading.measured_at))

    def _ask(self, queue: str) -> None:
        state = self._readings.get(queue)
        assert state is not None
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        found = [evaluate(state, metric, Moment(wall, monotonic)) for metric in _METRICS]  # type: ignore[arg-type]
        numbers = [each for each in found if isinstance(each, Measured)]
        if len(numbers) < len(found):
            self.verdict.refused += 1
            return
        self.verdict.answers += 1
        assert state.reading is not None
        took = state.reading.took or 0.0
        values = tuple(each.value_milli // 1000 for each in numbers)
        moments = list(self._clock.moments(state.reading.measured_at))
        if not any(monotonic - moment <= self._max_age + 0.1 for moment in moments):
            self.verdict.too_old += 1
        truths = [
            values_of(truth, wall)
            for moment in moments
            for truth in self._truths[queue].between(moment - DELIVERY_SECONDS, moment + took + 0.05)
        ]
        if values in truths:
            return
        self.verdict.different.append(f"{queue}: served {values}, true were {truths[:5]}")
        if not any(values[:2]) and all(any(truth[:2]) for truth in truths):
            self.verdict.invented_zeros += 1
