"""Random faults on many connections at once, while somebody reads what is served every 20 ms.

Each lane is a stream of its own behind a proxy of its own, with an ACL user of its own, so that faults of one
lane leave the others alone. Producers and consumers keep changing every stream, and note what was true
from when to when; whatever the adapter would serve must have been true at its timestamp.

    python -m tests.redis.fault_run [FAULTS]
"""

import asyncio
import random
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions, Root
from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.readings import News, Readings
from ottoscaler.adapter.sources.base import SourceContext
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.adapter.supervisor import Supervisor
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from ottoscaler.runtime.log import configure_logging
from ottoscaler.runtime.values import Duration
from tests.faults.proxy import Fault, FaultProxy
from tests.redis.server import RedisServer
from tests.redis.truth import Group, Stream
from tests.waiting import until

_GROUP = "workers"
_RIGHTS = ["+multi", "+exec", "+role", "+xinfo|stream", "+xinfo|groups", "+xpending", "+xrange", "+xrevrange"]
_INTERVAL = 0.1
_TIMEOUT = 0.5
_MAX_AGE = 3.0
_RECOVERY = 10.0
"""Seconds within which a lane must be fresh after its fault: a backoff that grew during it, and a reading."""

Counts = tuple[int, int]


@dataclass(slots=True)
class Tally:
    """What a run did and found."""

    faults: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    """Failures that people would see, by code."""
    checks: int = 0
    readings: int = 0
    unnoticed: int = 0
    """Faults that ended before anything was read."""
    slowest_recovery: float = 0.0
    wrong: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def summary(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.kinds.items()))
        codes = ", ".join(f"{name} {count}" for name, count in sorted(self.codes.items()))
        return (
            f"{self.faults} faults ({kinds}); {self.readings} readings, {self.checks} looks at what is served; "
            f"failures seen: {codes}; slowest recovery {self.slowest_recovery:.2f} s; "
            f"{len(self.wrong)} wrong, {len(self.leftovers)} left over"
        )


class _Truth:
    """What was true when: (from, to, counts), where a change is true on both sides of its command."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float, Counts | None]] = []
        self._since = 0.0
        self._counts: Counts | None = None

    def changes(self, began: float, ended: float, counts: Counts | None) -> None:
        self.spans.append((self._since, ended, self._counts))
        self._since, self._counts = began, counts
        del self.spans[:-4000]

    def held(self, start: float, end: float) -> set[Counts | None]:
        """Everything that was true at some time between the two."""
        found = {counts for since, until_, counts in self.spans if since <= end and until_ >= start}
        return found | ({self._counts} if self._since <= end else set())


class _Lane:
    """A stream, its user, its proxy and what is true of it."""

    def __init__(self, number: int, server: RedisServer, admin: Any, rng: random.Random) -> None:
        self.name = f"lane-{number}"
        self._admin = admin
        self._rng = rng
        self.proxy = FaultProxy("127.0.0.1", server.port, seed=rng.randrange(1 << 30))
        self.truth = _Truth()
        self._stream = Stream(groups={_GROUP: Group(0)})
        self._next = 0
        self._hidden = False
        self._lock = asyncio.Lock()
        self.publications: dict[int, float] = {}
        """When a reading was published, by its identity."""

    def config(self) -> QueueConfig:
        url = f"redis://{self.name}:secret@127.0.0.1:{self.proxy.port}"
        return QueueConfig(
            options=QueueOptions(name=self.name, max_age=Duration(_MAX_AGE), timeout=Duration(_TIMEOUT)),
            block="redis",
            settings=RedisSettings(url=url, stream=self.name, group=_GROUP),
            kind="redis-stream",
            interval=_INTERVAL,
        )

    async def prepare(self) -> None:
        await self._command("XGROUP", "CREATE", self.name, _GROUP, "0", "MKSTREAM")
        await self._allow()
        self.truth.changes(0.0, 0.0, (0, 0))

    async def change(self) -> None:
        """One command of a producer or a worker."""
        async with self._lock:
            if self._hidden:
                return
            began = SYSTEM_CLOCK.time()
            await self._rng.choice((self._add, self._add, self._take, self._finish, self._trim))()
            counts = len(self._stream.waiting(_GROUP)), len(self._stream.processing(_GROUP))
            self.truth.changes(began, SYSTEM_CLOCK.time(), counts)

    async def _add(self) -> None:
        if len(self._stream.entries) < 60:
            self._next += 1
            self._stream.entries.append(self._next << 64)
            await self._command("XADD", self.name, f"{self._next}-0", "task_id", str(self._next))

    async def _take(self) -> None:
        self._stream.deliver(_GROUP, "pod", 2, keep=True)
        await self._command("XREADGROUP", "GROUP", _GROUP, "pod", "COUNT", 2, "STREAMS", self.name, ">")

    async def _finish(self) -> None:
        group = self._stream.groups[_GROUP]
        ids = sorted(group.pending)[:2]
        for entry in ids:
            del group.pending[entry]
        if ids:
            await self._command("XACK", self.name, _GROUP, *(f"{entry >> 64}-0" for entry in ids))

    async def _trim(self) -> None:
        if len(self._stream.entries) > 40:
            self._stream.trim(10)
            await self._command("XTRIM", self.name, "MAXLEN", len(self._stream.entries))

    async def _allow(self) -> None:
        await self._command(
            "ACL", "SETUSER", self.name, "reset", "on", ">secret", f"~{self.name}", "-@all", *_RIGHTS
        )

    async def _command(self, *arguments: Any) -> Any:
        return await self._admin.execute_command(*arguments)

    def faults(self) -> list[tuple[str, Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]:
        """Name, beginning and end of each fault that this lane can have."""

        def network(fault: Fault) -> Callable[[], Awaitable[None]]:
            return lambda: self.proxy.inflict(fault, after=self._rng.choice((0, 0, 3, 40, 300, 900)))

        kinds = [(fault.value, network(fault), self.proxy.heal) for fault in Fault]
        return [
            *kinds,
            ("NOPERM", self._forbid, self._allow),
            ("WRONGPASS", self._change_password, self._allow),
            ("NOGROUP or no stream", self._hide, self._show),
            ("WRONGTYPE", self._hide_behind_string, self._show),
            ("killed connection", self._kill, self._nothing),
        ]

    async def _forbid(self) -> None:
        right = self._rng.choice(("-exec", "-xinfo", "-xpending", "-multi", "-xrange"))
        await self._command("ACL", "SETUSER", self.name, right)

    async def _change_password(self) -> None:
        await self._command("ACL", "SETUSER", self.name, "resetpass", ">other")
        await self._kill()

    async def _kill(self) -> None:
        await self._command("CLIENT", "KILL", "USER", self.name)

    async def _nothing(self) -> None:
        pass

    async def _hide(self) -> None:
        async with self._lock:
            self._hidden = True
            began = SYSTEM_CLOCK.time()
            await self._command("RENAME", self.name, f"{self.name}:away")
            self.truth.changes(began, SYSTEM_CLOCK.time(), None)

    async def _hide_behind_string(self) -> None:
        await self._hide()
        await self._command("SET", self.name, "a string")

    async def _show(self) -> None:
        async with self._lock:
            began = SYSTEM_CLOCK.time()
            await self._command("RENAME", f"{self.name}:away", self.name)
            counts = len(self._stream.waiting(_GROUP)), len(self._stream.processing(_GROUP))
            self.truth.changes(began, SYSTEM_CLOCK.time(), counts)
            self._hidden = False


class _WatchedReadings(Readings):
    """Notes when each reading was published."""

    def __init__(self, lanes: dict[str, _Lane], tally: Tally) -> None:
        super().__init__(SYSTEM_CLOCK)
        self._lanes = lanes
        self._tally = tally

    def publish(self, news: Reading | ReadFailure) -> News:
        if isinstance(news, Reading):
            self._tally.readings += 1
            self._lanes[news.queue].publications = {id(news): SYSTEM_CLOCK.time()}
        else:
            self._tally.codes[news.code] += 1
        return super().publish(news)


async def run(server: RedisServer, *, seed: int, lanes: int, faults: int) -> Tally:
    """At least `faults` faults, spread over `lanes`."""
    import redis.asyncio

    rng = random.Random(seed)
    tally = Tally()
    before = _resources()
    async with redis.asyncio.Redis(host="127.0.0.1", port=server.port, protocol=2) as admin:
        await admin.flushall()
        rows = [_Lane(number, server, admin, rng) for number in range(lanes)]
        async with asyncio.TaskGroup() as group:
            for lane in rows:
                await lane.proxy.__aenter__()
                await lane.prepare()
            readings = _WatchedReadings({lane.name: lane for lane in rows}, tally)
            context = SourceContext(clock=SYSTEM_CLOCK, environ={})
            async with Supervisor(readings, context) as supervisor:
                queues = tuple(lane.config() for lane in rows)
                supervisor.apply(Config(root=Root(), queues=queues, backends={"redis": BACKEND}, digest=""))
                stopping = asyncio.Event()  # a client of the library may swallow a cancellation (Python 3.11)
                for lane in rows:
                    group.create_task(_work(lane, rng, stopping))
                group.create_task(_look(rows, readings, tally, stopping))
                shares = [faults // lanes + (number < faults % lanes) for number in range(lanes)]
                await asyncio.gather(
                    *(
                        _break(lane, readings, share, rng, tally)
                        for lane, share in zip(rows, shares, strict=True)
                    )
                )
                stopping.set()
            for lane in rows:
                await lane.proxy.__aexit__(None, None, None)
    await _compare_resources(before, tally)
    return tally


async def _work(lane: _Lane, rng: random.Random, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await lane.change()
        await asyncio.sleep(rng.uniform(0.005, 0.03))


async def _look(lanes: list[_Lane], readings: Readings, tally: Tally, stopping: asyncio.Event) -> None:
    """What anybody who asks would be served, every 20 ms."""
    while not stopping.is_set():
        await asyncio.sleep(0.02)
        now, monotonic = SYSTEM_CLOCK.time(), SYSTEM_CLOCK.monotonic()
        for lane in lanes:
            state = readings.get(lane.name)
            if state is None or state.reading is None or not state.is_fresh(now=now, monotonic=monotonic):
                continue
            tally.checks += 1
            reading = state.reading
            published = lane.publications.get(id(reading))
            if published is None:
                continue  # judged when it was new
            counts = reading.counts(now)
            said = (counts.waiting, counts.processing)
            truths = lane.truth.held(reading.measured_at, published)
            if said not in truths:
                tally.wrong.append(f"{lane.name}: {said} at {reading.measured_at:.3f}; true: {truths}")
                lane.publications.clear()


async def _break(lane: _Lane, readings: Readings, faults: int, rng: random.Random, tally: Tally) -> None:
    state = readings.get(lane.name)
    assert state is not None
    await until(lambda: state.reading is not None, within=_RECOVERY)
    for _ in range(faults):
        name, begin, end = rng.choice(lane.faults())
        failures = state.failures.total()
        await begin()
        await asyncio.sleep(rng.choice((0.05, 0.2, 0.4, 0.8)))
        await end()
        ended = SYSTEM_CLOCK.time()
        tally.faults += 1
        tally.kinds[name] += 1
        tally.unnoticed += state.failures.total() == failures
        await until(
            lambda since=ended: state.reading is not None and state.reading.measured_at > since,
            within=_RECOVERY,
            what=f"{lane.name} to be fresh after {name}",
        )
        tally.slowest_recovery = max(tally.slowest_recovery, SYSTEM_CLOCK.time() - ended)


def _resources() -> dict[str, int]:
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "sockets": len(list(Path("/proc/self/fd").iterdir())),
    }


async def _compare_resources(before: dict[str, int], tally: Tally) -> None:
    """Threads of the executor may stay; they are bounded and idle."""

    def left() -> list[str]:
        now = _resources()
        return [
            f"{now[name] - before[name]} {name}" for name in ("tasks", "sockets") if now[name] > before[name]
        ]

    try:
        await until(lambda: not left(), within=5.0)
    except AssertionError:
        tally.leftovers = left()


async def _main(faults: int) -> int:
    configure_logging(level="error")
    with RedisServer() as server:
        tally = await run(server, seed=1, lanes=24, faults=faults)
    print(tally.summary())
    print("\n".join([*tally.wrong[:10], *tally.leftovers]))
    return 1 if tally.wrong or tally.leftovers else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)))
