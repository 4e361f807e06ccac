"""Events that keep coming while the orchestrator is killed and others are restarted, and what must be true then."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError, ResponseError

from tests.cluster.orchestrator.births import births
from tests.cluster.orchestrator.scene import STREAM, Scene
from tests.orchestrator.replica import Replica
from tests.waiting import until


@dataclass(slots=True)
class Producer:
    """Sends events of one to four workers, each exactly once although Redis may be away in between."""

    here: Scene
    rng: random.Random
    events: int = 0
    workers: int = 0
    sent: asyncio.Event = field(default_factory=asyncio.Event)

    async def burst(self, count: int, *, over: float) -> None:
        """`count` events, unevenly within about `over` seconds."""
        for _ in range(count):
            await self._one()
            if self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.uniform(0, 4 * over / count))

    async def _one(self) -> None:
        size = self.rng.randint(1, 4)
        fields: Any = {"type": "scale_up", "task_id": f"task-{self.events % 17}", "pod_count": str(size)}
        # An id of our own: sent again after a lost answer, Redis refuses it when it has it already.
        id_ = f"{time.time_ns() // 1_000_000}-{self.events}"
        lost = False

        async def taken() -> bool:
            nonlocal lost
            try:
                await self.here.redis.xadd(STREAM, fields, id=id_)
            except ResponseError as error:
                if lost and "equal or smaller" in str(error):
                    return True
                if "LOADING" not in str(error):
                    raise
                return False
            except (RedisAway, OSError):
                lost = True
                return False
            return True

        await until(taken, what="Redis takes the event")
        self.events += 1
        self.workers += size


async def storm(
    here: Scene,
    replica: Replica,
    *,
    seed: int,
    events: int,
    kills: int,
    disturb: Callable[[], Awaitable[object]] | None = None,
) -> dict[str, float | int]:
    """Kills `replica` that often while `events` come; `disturb` happens in the middle. Then all must be true.

    Returns figures of the run.
    """
    producer = Producer(here, random.Random(seed))
    moments = random.Random(seed + 1)
    rounds = max(1, kills)
    started = time.monotonic()
    async with births(here.kube, here.pods) as told:
        for number in range(rounds):
            due = events * (number + 1) // rounds - events * number // rounds
            async with asyncio.TaskGroup() as group:
                group.create_task(producer.burst(due, over=0.6))
                if number < kills:
                    group.create_task(_kill(replica, moments))
                if disturb is not None and number == rounds // 2:
                    group.create_task(_await(disturb()))
        spent = time.monotonic() - started
        await expect_exactly(here, producer, seed)
        assert not told.twice, f"seed {seed}: created more than once: {told.twice}"
        assert set(told.uids) <= set(here.ran()), f"seed {seed}: a pod never ran"
    assert replica.restarts == kills
    return {
        "events": producer.events,
        "workers": producer.workers,
        "kills": kills,
        "seconds of events": spent,
        "seconds in all": time.monotonic() - started,
    }


async def _await(work: Awaitable[object]) -> None:
    await work


async def _kill(replica: Replica, moments: random.Random) -> None:
    """At some moment of a life: while it starts, while it works, or when it has nothing to do."""
    await asyncio.sleep(moments.uniform(0.0, 1.2))
    await replica.kill()
    await replica.start(wait=moments.random() < 0.5)


async def expect_exactly(here: Scene, producer: Producer, seed: int) -> None:
    """As many workers ran as were asked for, each once; nothing is left behind."""
    await here.until_settled(producer.events, within=180)
    await here.until_ran(producer.workers, within=180)
    await here.until_gone(within=180)
    ran = here.ran()
    twice = {name: times for name, times in ran.items() if times > 1}
    assert not twice, f"seed {seed}: ran more than once: {twice}"
    assert len(ran) == producer.workers, f"seed {seed}"
    assert await here.dead_letters() == []


async def restart_redis(here: Scene, moments: random.Random, times: int) -> None:
    """Kills and starts it, with what it had written."""
    for _ in range(times):
        await asyncio.sleep(moments.uniform(0.0, 0.3))
        await asyncio.to_thread(here.server.stop)
        await asyncio.sleep(moments.uniform(0.05, 0.6))
        await asyncio.to_thread(here.server.start)
        await until(lambda: _answers(here), what="Redis answers")


async def _answers(here: Scene) -> bool:
    try:
        return bool(await here.redis.ping())
    except (RedisError, OSError):
        return False
