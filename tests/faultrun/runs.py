"""The runs by name."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Literal

from tests.faultrun import campaign
from tests.faultrun.possessions import Possessions, settled, with_threads_of_its_own
from tests.faultrun.scene import Scene
from tests.faultrun.verdict import Outcome, Verdict

QUEUES = 12
_WARM_UP = 24
"""Faults before the first count, after which libraries are imported and their caches filled."""

Stage = Callable[[int], AbstractAsyncContextManager[Scene]]
"""Builds the scene of a seed, servers included."""


async def run(name: str, faults: int, seed: int, *, warm_up: int = _WARM_UP) -> Outcome:
    """The run called `name` (see `STAGES`), with a count of what there is before and after it."""
    return await run_on(STAGES[name], name, faults, seed, warm_up=warm_up)


async def run_on(stage: Stage, name: str, faults: int, seed: int, *, warm_up: int = _WARM_UP) -> Outcome:
    """The same on a stage of one's own."""
    began = time.monotonic()

    async def act(count: int) -> Verdict:
        async with stage(seed) as scene:
            return await campaign.run(scene, faults=count, seed=seed)

    if warm_up:
        await with_threads_of_its_own(partial(act, warm_up))
    before = Possessions.now()
    verdict = await with_threads_of_its_own(partial(act, faults))
    after = await settled(before)
    return Outcome(name, seed, time.monotonic() - began, verdict, before, after)


@asynccontextmanager
async def _firebase(mode: Literal["stream", "poll"], seed: int) -> AsyncIterator[Scene]:
    from tests.faultrun.firebase import firebase_scene

    async with firebase_scene(mode, queues=QUEUES, seed=seed) as scene:
        yield scene


@asynccontextmanager
async def _firestore(seed: int) -> AsyncIterator[Scene]:
    from tests.firestore.emulator import HOW_TO_GET_IT, jar, running

    file = jar()
    if file is None:
        raise SystemExit(HOW_TO_GET_IT)
    async with running(file) as emulator, firestore_at(emulator.address, seed) as scene:
        yield scene


@asynccontextmanager
async def firestore_at(address: str, seed: int) -> AsyncIterator[Scene]:
    """Collections in the emulator at `address`."""
    from tests.faultrun.firestore import firestore_scene

    async with firestore_scene(address, queues=QUEUES // 2, seed=seed) as scene:
        yield scene


@asynccontextmanager
async def _redis(seed: int) -> AsyncIterator[Scene]:
    from tests.faultrun.redis import redis_scene

    async with redis_scene(seed=seed) as scene:
        yield scene


@asynccontextmanager
async def _prometheus(seed: int) -> AsyncIterator[Scene]:
    from tests.faultrun.prometheus import prometheus_scene

    async with prometheus_scene(queues=QUEUES, seed=seed) as scene:
        yield scene


STAGES: Mapping[str, Stage] = {
    "firebase-poll": partial(_firebase, "poll"),
    "firebase-stream": partial(_firebase, "stream"),
    "firestore": _firestore,
    "prometheus": _prometheus,
    "redis": _redis,
}
