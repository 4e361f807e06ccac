"""One run: writers write, faults happen one after the other on each queue, a judge watches, and then all is still.

A fault begins only where all is well, so that it meets a request that somebody waits for: while a queue still
recovers from what hit all queues, a request may be under way that was given up, and a stream may not be open. It is
over when the metrics speak of it, and its queue has recovered when it has been measured again since.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Protocol

from ottoscaler.adapter.config.model import Config, Root
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.sources.base import SourceContext
from ottoscaler.adapter.supervisor import Supervisor
from tests.faultrun.front import Front, serving
from tests.faultrun.judge import Judge
from tests.faultrun.scene import Scene, Sign
from tests.faultrun.verdict import Kind, Verdict

_PATIENCE = 30.0
_NOTICED_WITHIN = 10.0
"""Far longer than any time-out of a scene."""
_ATTEMPTS = 3
"""On a busy machine a fault may meet a request that its client gave up long ago: then it happens again."""
_POLL_SECONDS = 0.005


async def run(scene: Scene, *, faults: int, seed: int) -> Verdict:
    """`faults` faults, shared among the queues of the scene."""
    readings = Readings(scene.clock)
    context = SourceContext(clock=scene.clock, environ={}, count=readings.count)
    async with Supervisor(readings, context) as supervisor:
        supervisor.apply(scene.config())
        async with serving(readings, scene.clock, lambda: supervisor.restarts) as front:
            judge = Judge(readings, scene, front)
            campaign = _Campaign(scene, readings, judge, front, faults=faults, seed=seed)
            stopping = asyncio.Event()  # clients that write may swallow a cancellation (Python 3.11)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(judge.run(stopping))
                for queue in scene.truths:
                    tasks.create_task(_write_until(stopping, scene, queue, seed))
                await campaign.run()
                stopping.set()
    return judge.verdict


async def _write_until(stopping: asyncio.Event, scene: Scene, queue: str, seed: int) -> None:
    rng = random.Random(f"{seed} writes {queue}")
    while not stopping.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.uniform(0.05, 1.2)):
                await stopping.wait()
        await scene.write(queue)


class _Campaign:
    def __init__(
        self, scene: Scene, readings: Readings, judge: Judge, front: Front, *, faults: int, seed: int
    ) -> None:
        self._scene = scene
        self._readings = readings
        self._judge = judge
        self._front = front
        self._left = faults
        self._seed = seed
        self._rng = random.Random(f"{seed} faults")
        self._decks: dict[tuple[str, ...], list[str]] = {}
        self._clock_jumps = 0
        self._all_hit = 0.0
        """When the last fault that hit more than one queue ended."""

    async def run(self) -> None:
        """Until all faults have happened and every queue is fresh again."""
        async with asyncio.TaskGroup() as tasks:
            for queue in self._scene.truths:
                tasks.create_task(self._attack(queue))
        ended = self._scene.clock.monotonic()
        for queue in self._scene.truths:
            await self._recovered(queue, "the run", since=ended)
        self._judge.verdict.all_fresh_after = self._scene.clock.monotonic() - ended

    async def _attack(self, queue: str) -> None:
        rng = random.Random(f"{self._seed} pauses {queue}")
        while self._left > 0:
            self._left -= 1
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            await self._one(self._draw(queue), queue)

    def _draw(self, queue: str) -> str:
        """At random, but every kind before any comes again."""
        kinds = tuple(self._scene.kinds(queue))
        deck = self._decks.setdefault(kinds, [])
        if not deck:
            deck += self._rng.sample(kinds, len(kinds))
        return deck.pop()

    async def _one(self, kind: str, queue: str) -> None:
        scene, sign = self._scene, self._scene.sign(kind)
        tally = self._judge.verdict.kinds.setdefault(kind, Kind(sign=sign.value))
        tally.happened += 1
        for _ in range(_ATTEMPTS):
            before = await self._begin(kind, queue, sign)
            seen = await self._is_seen(kind, queue, sign, before)
            await scene.relieve(kind, queue)
            if seen:
                tally.seen += 1
                break
            self._judge.verdict.repeated += 1
        over = scene.clock.monotonic()
        if kind in scene.common:
            self._all_hit = over
        took = await self._recovered(queue, kind, since=over)
        tally.slowest = max(tally.slowest, took)

    async def _begin(self, kind: str, queue: str, sign: Sign) -> int:
        """Waits until the fault can happen and makes it happen; how many signs there were before."""
        deadline = self._scene.clock.monotonic() + _PATIENCE
        while self._scene.clock.monotonic() < deadline:
            if not await self._until(lambda: self._is_well(queue)):
                state = self._readings.get(queue)
                raise AssertionError(f"{queue} is not well: {state and state.failure}")
            before = self._signs(sign, queue)
            if await self._scene.inflict(kind, queue):
                self._clock_jumps += sign is Sign.CLOCK
                return before
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError(f"{kind} cannot happen to {queue}")

    async def _is_seen(self, kind: str, queue: str, sign: Sign, before: int) -> bool:
        """Waits until there are more signs than before the fault met what it was meant for."""
        deadline = self._scene.clock.monotonic() + _PATIENCE
        while not self._scene.has_begun(kind, queue):
            if self._scene.clock.monotonic() > deadline:
                return False
            before = self._signs(sign, queue)
            await asyncio.sleep(_POLL_SECONDS)
        within = deadline if kind in self._scene.common else self._scene.clock.monotonic() + _NOTICED_WITHIN
        return await self._until(
            lambda: self._signs(sign, queue) > before, deadline=within
        ) and await self._is_shown(sign, queue)

    def _is_well(self, queue: str) -> bool:
        state, clock = self._readings.get(queue), self._scene.clock
        return (
            state is not None
            and state.failure is None
            and state.is_fresh(now=clock.time(), monotonic=clock.monotonic())
        )

    def _signs(self, sign: Sign, queue: str) -> int:
        match sign:
            case Sign.CLOCK:
                return self._clock_jumps
            case Sign.TOKEN:
                return sum(
                    state.failures.total() + int(state.costs["token_refusals"]) for state in self._readings
                )
        state = self._readings.get(queue)
        assert state is not None
        moves = int(state.costs["server_changes"]) if sign is Sign.MOVE else 0
        return state.failures.total() + moves

    async def _is_shown(self, sign: Sign, queue: str) -> bool:
        """Whether the page for Prometheus says what the readings know."""
        known = self._signs(sign, queue)
        shown = await self._front.shown()
        match sign:
            case Sign.CLOCK:
                return abs(shown.clock_shift - self._scene.clock.skew) < 0.5
            case Sign.TOKEN:
                return sum(shown.failures.values()) + sum(shown.token_refusals.values()) >= known
            case Sign.MOVE:
                return shown.failures.get(queue, 0) + shown.moves.get(queue, 0) >= known
        return shown.failures.get(queue, 0) >= known

    async def _recovered(self, queue: str, kind: str, *, since: float) -> float:
        """Waits until the queue was measured again; the seconds it took, without what hit all queues meanwhile."""
        clock, verdict = self._scene.clock, self._judge.verdict
        if not await self._until(lambda: self._judge.measured_after(queue, since)):
            state = self._readings.get(queue)
            raise AssertionError(f"{queue} did not recover from {kind}: {state and state.failure}")
        took = clock.monotonic() - max(since, self._all_hit)
        if took > self._scene.terms.recovery + verdict.longest_stall:
            verdict.slow.append(f"{queue} took {took:.2f} s to recover from {kind}")
        return took

    async def _until(self, condition: "Condition", *, deadline: float | None = None) -> bool:
        deadline = self._scene.clock.monotonic() + _PATIENCE if deadline is None else deadline
        while not condition():
            if self._scene.clock.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True


class Condition(Protocol):
    """Something that becomes true."""

    def __call__(self) -> bool: ...


def configuration(queues: Sequence[object], **backends: object) -> Config:
    """A configuration made of parts."""
    return Config(root=Root(), queues=tuple(queues), backends=backends, digest="")  # type: ignore[arg-type]
