"""The runs by name, and what a run leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.faultrun import campaign
from tests.faultrun.campaign import Possessions
from tests.faultrun.firebase import MAX_AGE, firebase_scene
from tests.faultrun.judge import Verdict

QUEUES = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the process before and after."""

    verdict: Verdict
    before: Possessions
    after: Possessions

    @property
    def is_clean(self) -> bool:
        """Whether nothing false was served, nothing hidden, and nothing left over."""
        before, after = self.before, self.after
        return self.verdict.is_clean and after.tasks <= before.tasks and after.sockets <= before.sockets


def report(outcome: Outcome) -> str:
    """For people."""
    before, after = outcome.before, outcome.after
    left = ", ".join(
        f"{name} {getattr(before, name)} → {getattr(after, name)}" for name in ("tasks", "threads", "sockets")
    )
    examples = "".join(f"\n  {each}" for each in outcome.verdict.different[:10])
    return f"{outcome.verdict}{examples}\nbefore → after: {left}, RSS {before.rss_mib:.0f} → {after.rss_mib:.0f} MiB"


async def firebase(mode: Literal["stream", "poll"], faults: int, seed: int) -> Outcome:
    """Faults on the queues of a Realtime Database."""
    await _warm_up(mode, seed)
    before = Possessions.now()
    async with firebase_scene(mode, queues=min(QUEUES, faults), seed=seed) as scene:
        verdict = await campaign.run(scene, faults=faults, seed=seed, max_age=MAX_AGE)
    return Outcome(verdict, before, await _settled(before))


async def _warm_up(mode: Literal["stream", "poll"], seed: int) -> None:
    """Google's imports and the threads that fetch tokens are there afterwards."""
    async with firebase_scene(mode, queues=2, seed=seed) as scene:
        await campaign.run(scene, faults=2, seed=seed, max_age=MAX_AGE)


async def firebase_stream(faults: int, seed: int) -> Outcome:
    """By event stream."""
    return await firebase("stream", faults, seed)


async def firebase_poll(faults: int, seed: int) -> Outcome:
    """By polling."""
    return await firebase("poll", faults, seed)


async def firestore(faults: int, seed: int) -> Outcome:
    """On the collections of a Firestore, in an emulator of its own."""
    from tests.firestore.emulator import HOW_TO_GET_IT, jar, running

    file = jar()
    if file is None:
        raise SystemExit(HOW_TO_GET_IT)
    async with running(file) as emulator:
        return await firestore_at(emulator.address, faults, seed)


async def firestore_at(address: str, faults: int, seed: int) -> Outcome:
    """On the collections of a Firestore in the emulator at `address`."""
    from tests.faultrun.firestore import MAX_AGE as OLDEST
    from tests.faultrun.firestore import firestore_scene

    async with firestore_scene(address, queues=2, seed=seed) as scene:
        await campaign.run(scene, faults=2, seed=seed, max_age=OLDEST)
    before = Possessions.now()
    async with firestore_scene(address, queues=min(QUEUES // 2, faults), seed=seed) as scene:
        verdict = await campaign.run(scene, faults=faults, seed=seed, max_age=OLDEST)
    return Outcome(verdict, before, await _settled(before))


async def _settled(before: Possessions) -> Possessions:
    """What is still held when gRPC and the threads have had time to let go."""
    for _ in range(100):
        after = Possessions.now()
        if after.tasks <= before.tasks and after.sockets <= before.sockets:
            break
        await asyncio.sleep(0.05)
    return after


RUNS: Mapping[str, Callable[[int, int], Awaitable[Outcome]]] = {
    "firebase-poll": firebase_poll,
    "firebase-stream": firebase_stream,
    "firestore": firestore,
}
