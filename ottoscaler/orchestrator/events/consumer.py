"""Takes events, carries them out, and acknowledges each when its effect exists.

    XREADGROUP ──► one task an event ──► Scaler ──► pods exist ──► XACK
                        │ cannot be meant, or fails for good ──► dead letter

An event that is delivered again finds its pods by name and creates nothing. What keeps two replicas
from carrying one event out at the same time is its idle time in Redis: we refresh it while we work,
others claim only what has been silent for longer, and whoever has been unable to refresh creates
nothing more until Redis has confirmed that the event is still its own.

Producers trim the stream. What is trimmed while it is carried out goes on: nobody else can take it over.
What is trimmed and in nobody's memory becomes a dead letter with its id.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from ottoscaler.orchestrator.events.entry import Entry, EntryId, read_order, task_of
from ottoscaler.orchestrator.events.later import LaterOrders
from ottoscaler.orchestrator.events.stream import EventStream, Refreshed
from ottoscaler.orchestrator.launch import OrderLost, Patience
from ottoscaler.orchestrator.orders import InvalidOrder, Origin, ScaleDown, ScaleUp
from ottoscaler.orchestrator.scaling import Scaler
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.worker import Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.redis_client import REDIS_AWAY
from ottoscaler.runtime.tasks import Backoff, TaskSet, supervise

log = get_logger("events")

_LAST_LETTERS = 0.5
"""Seconds for dead letters when we are to stop."""
_REMEMBERED = 100_000
"""Settled events; one is 100 bytes."""
_TRIMMED = "trimmed from the stream before it was acknowledged: what it asked for is not known any more"
_DOUBTFUL = "trimmed from the stream while we could not ask Redis: whether another replica has carried it out is not known"
_UNFINISHED = "trimmed from the stream, and the replica that was carrying it out was stopped"
_SCAN = 1000
"""Entries looked at when an order asks what came before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    """How events are treated. Times are seconds."""

    block: float = 2.0
    in_flight: int = 1000
    claim_idle: float = 15.0
    """An event that was silent for so long may be claimed by another replica."""
    attempts: int = 5
    most_deliveries: int = 100
    """An event that came so often takes the process down each time, or nobody can finish it."""
    quota_patience: float = 3600.0
    most_workers: int = 1000
    look_every: float = 2.0
    """While workers wait for room, how often later events are looked at."""

    @property
    def fresh_for(self) -> float:
        """After a refresh we may create pods for so long without asking again; the rest is for a slow call."""
        return self.claim_idle * 0.6

    @property
    def refresh_every(self) -> float:
        return self.claim_idle * 0.25


@dataclass(eq=False, slots=True)
class _Handling:
    entry: Entry
    fresh_at: float
    """When Redis last said that the event is ours; our monotonic clock, before the question."""
    lost: bool = False
    trimmed: bool = False
    """It is in the stream no more, so that nobody can take it over; only we know what it asked for."""
    buried: bool = False
    """A dead letter of it is written, or about to be."""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class EventConsumer:
    """One replica's part in the consumer group. `run` works until `stop`."""

    def __init__(
        self, *, stream: EventStream, scaler: Scaler, rules: EventRules, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._stream = stream
        self._scaler = scaler
        self._rules = rules
        self._telemetry = telemetry
        self._clock = clock
        self._handling: dict[EntryId, _Handling] = {}
        self._settled: OrderedDict[EntryId, None] = OrderedDict()
        self._room = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._to_acknowledge: list[tuple[EntryId, asyncio.Event]] = []
        self._acknowledging = asyncio.Event()
        self._later = LaterOrders(stream, every=rules.look_every, clock=clock)
        self._tasks = TaskSet(_failed)
        self._over = False
        self.connected = False
        """Whether the newest read worked."""
        self.on_settled: Callable[[str], None] = lambda event: None
        """Called with the id of each event that will not come again."""

    @property
    def in_flight(self) -> int:
        """Events taken and not yet acknowledged."""
        return len(self._handling)

    async def run(self) -> None:
        """Reads and handles until cancelled; a Redis that is away is logged once and waited for."""
        backoff = Backoff(initial=0.2, maximum=10.0)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_fresh())
                group.create_task(self._acknowledge_together())
                group.create_task(self._later.run())
                self._reading = group.create_task(
                    supervise(
                        lambda: self._read(backoff),
                        backoff=backoff,
                        on_failure=self._read_failed,
                        clock=self._clock,
                    )
                )
        finally:
            self._over = True
            await self._tasks.cancel()

    async def stop(self, seconds: float) -> None:
        """Takes no new events, and gives those in hand so long to be carried out. `run` goes on till cancelled."""
        if self._reading is None:
            return
        self._reading.cancel()
        await asyncio.wait({self._reading})
        try:
            async with asyncio.timeout(seconds):
                await self._resume()  # Redis may have given us some in the answer that was cut off
                while self._handling:
                    await next(iter(self._handling.values())).done.wait()
        except REDIS_AWAY:  # a `TimeoutError` too
            await self._leave()

    async def _leave(self) -> None:
        """Others claim what is not done. What was trimmed nobody else knows: that becomes dead letters."""
        unfinished = [each for each in self._handling.values() if each.trimmed and not each.lost]
        for each in unfinished:
            each.lost = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LETTERS):
                for each in unfinished:
                    await self._bury(each, _UNFINISHED, outcome="trimmed")
        left = len(self._handling) - len(unfinished)
        log.info("leaving events to another replica", events=left)

    async def _read(self, backoff: Backoff) -> None:
        await self._stream.ensure_group()
        await self._resume()
        while True:
            free = self._rules.in_flight - len(self._handling)
            if free <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            asked = self._clock.monotonic()
            entries = await self._stream.read(count=min(free, 200), block=self._rules.block)
            self._connected(backoff)
            for entry in entries:
                self.take(entry, asked=asked)

    async def _resume(self) -> None:
        """Takes up what this consumer was given in an earlier life, or in an answer that never arrived."""
        last: EntryId | None = None
        while True:
            asked = self._clock.monotonic()
            entries = await self._stream.own(after=last, count=200)
            if not entries:
                return
            for entry in entries:
                self.take(entry, asked=asked)
            last = entries[-1].id

    def _connected(self, backoff: Backoff) -> None:
        backoff.reset()
        self._telemetry.redis_reads.labels("ok").inc()
        self._telemetry.redis_up.set(1)
        if not self.connected:
            log.info("reading events", stream=self._stream.stream, group=self._stream.group)
        self.connected = True

    def _read_failed(self, error: Exception, delay: float) -> None:
        self._telemetry.redis_reads.labels("error").inc()
        self._telemetry.redis_up.set(0)
        expected = isinstance(error, REDIS_AWAY)
        if self.connected or not expected:
            log.warning("cannot read events, trying again", stream=self._stream.stream, error=error)
        self.connected = False

    def take(self, entry: Entry, *, asked: float) -> None:
        """Begins to carry `entry` out, unless that is under way. `asked`: when Redis was asked for it.

        After the end of `run` nothing would acknowledge it: it is left to whoever claims it next.
        """
        if self._over:
            return
        known = self._handling.get(entry.id)
        if known is not None:
            known.fresh_at, known.lost = asked, False
            known.trimmed = known.trimmed or not entry.fields
            return
        handling = _Handling(entry, asked)
        self._handling[entry.id] = handling
        self._telemetry.events_in_flight.set(len(self._handling))
        self._tasks.start(self._carry_out(handling))

    async def _carry_out(self, handling: _Handling) -> None:
        entry = handling.entry
        try:
            await self._handle(handling)
        except OrderLost:
            if not handling.trimmed:
                log.info("another replica has taken the event over", entry=str(entry.id))
            elif not handling.buried:
                await self._bury(handling, _DOUBTFUL, outcome="trimmed")
        finally:
            handling.done.set()
            self._handling.pop(entry.id, None)
            self._telemetry.events_in_flight.set(len(self._handling))
            self._room.set()

    async def _handle(self, handling: _Handling) -> None:
        entry = handling.entry
        if entry.id in self._settled:
            await self._acknowledge(handling)  # done by this process before
            return
        if not entry.fields:
            await self._bury(handling, _TRIMMED, outcome="trimmed")
            return
        if entry.deliveries > self._rules.most_deliveries:
            await self._bury(handling, f"delivered {entry.deliveries} times and never finished")
            return
        try:
            order = read_order(entry, source=self._stream.source, most=self._rules.most_workers)
        except InvalidOrder as error:
            await self._bury(handling, str(error))
            return
        if isinstance(order, ScaleUp):
            await self._up(handling, order)
        else:
            await self._down(handling, order)

    async def _up(self, handling: _Handling, order: ScaleUp) -> None:
        patience = Patience(
            attempts=self._rules.attempts,
            quota=self._rules.quota_patience,
            confirm=lambda: self._confirm(handling),
            confirmed=lambda: self._is_ours(handling),
        )
        self._later.add(handling.entry.id, task_id=order.task_id, patience=patience)
        try:
            launch = await self._scaler.up(order, patience)
        finally:
            self._later.remove(handling.entry.id)
        if launch.refused:
            made = (
                f"{len(launch.names)} of {order.count} workers were created"
                if launch.names
                else "no worker was created"
            )
            await self._bury(handling, f"{made}; the API refused the rest: {launch.reasons()}")
            return
        if not launch.existing:
            self._telemetry.event_latency.observe(max(0.0, self._clock.time() - order.origin.at))
        await self._acknowledge(handling)
        self._telemetry.events.labels("scale_up", "dropped" if launch.dropped else "done").inc()

    async def _down(self, handling: _Handling, order: ScaleDown) -> None:
        entry = handling.entry

        def older(origin: Origin) -> bool:
            return origin.event is None or EntryId.parse(origin.event) < entry.id

        def later(worker: Worker) -> bool:
            """Asked for after this event: by its id, or, when this one comes again, by the clock."""
            if worker.event is not None:
                return EntryId.parse(worker.event) > entry.id
            return entry.deliveries > 1 and worker.requested_at > entry.id.ms / 1000

        await self._wait_for_earlier(handling, order.task_id)
        await self._confirm(handling)
        try:
            removal = await self._scaler.down(order, supersedes=older, spares=later)
        except KubeError as error:
            await self._bury(handling, f"the workers cannot be listed: {error.message}")
            return
        if removal.refused:
            reasons = "; ".join(sorted(set(removal.refused.values())))
            await self._bury(
                handling, f"{len(removal.refused)} workers could not be removed: {reasons[:500]}"
            )
            return
        await self._acknowledge(handling)
        self._telemetry.events.labels("scale_down", "done").inc()

    async def _wait_for_earlier(self, handling: _Handling, task_id: str) -> None:
        """Until no earlier event of the task is in another replica's hands: its workers would come later."""
        backoff = Backoff(initial=0.02, maximum=1.0)
        deadline = self._clock.monotonic() + 4 * self._rules.claim_idle
        while self._clock.monotonic() < deadline:
            try:
                pending = await self._stream.pending_before(handling.entry.id, count=_SCAN)
                foreign = [each.id for each in pending if each.consumer != self._stream.consumer]
                fields = await self._stream.fields(foreign) if foreign else {}
            except REDIS_AWAY:
                await self._clock.sleep(backoff.next())
                continue
            if not any(task_of(each) == task_id for each in fields.values()):
                return
            await self._clock.sleep(backoff.next())

    def _is_ours(self, handling: _Handling) -> bool:
        """Whether Redis has said so lately enough; of what was trimmed it said the last word."""
        fresh = handling.trimmed or self._clock.monotonic() - handling.fresh_at < self._rules.fresh_for
        return fresh and not handling.lost

    async def _confirm(self, handling: _Handling) -> None:
        """Raises `OrderLost` when the event is somebody else's; waits while Redis cannot say."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        while not handling.lost:
            if self._is_ours(handling):
                return
            asked = self._clock.monotonic()
            try:
                self._learn(handling, await self._stream.refresh([handling.entry.id]), asked=asked)
            except REDIS_AWAY:
                await self._clock.sleep(backoff.next())
        raise OrderLost

    async def _keep_fresh(self) -> None:
        while True:
            await self._clock.sleep(self._rules.refresh_every)
            held = [each for each in self._handling.values() if not each.lost and not each.trimmed]
            if not held:
                continue
            asked = self._clock.monotonic()
            try:
                answer = await self._stream.refresh([each.entry.id for each in held])
            except REDIS_AWAY:
                continue
            for each in held:
                if not each.done.is_set():
                    self._learn(each, answer, asked=asked)

    def _learn(self, handling: _Handling, answer: Refreshed, *, asked: float) -> None:
        """What Redis, asked at `asked`, said of an event that we carry out."""
        if handling.entry.id in answer.ours:
            handling.fresh_at = asked
            return
        handling.trimmed = handling.entry.id in answer.trimmed
        if handling.trimmed:
            log.warning("an event in work was trimmed from the stream", entry=str(handling.entry.id))
        # Trimmed, it is ours for good, unless somebody could take it over, and finish it, before it was.
        silent = self._clock.monotonic() - handling.fresh_at
        handling.lost = not handling.trimmed or silent >= self._rules.claim_idle

    async def _acknowledge(self, handling: _Handling) -> None:
        done = asyncio.Event()
        self._to_acknowledge.append((handling.entry.id, done))
        self._acknowledging.set()
        await done.wait()
        self._note_settled(handling.entry.id)

    async def _acknowledge_together(self) -> None:
        """A burst of events that are done at once is one command on one connection."""
        while True:
            await self._acknowledging.wait()
            self._acknowledging.clear()
            batch, self._to_acknowledge = self._to_acknowledge, []
            ids = [id_ for id_, _ in batch]
            if ids:
                await self._until_redis_takes(partial(self._stream.acknowledge, ids))
            for _, done in batch:
                done.set()

    async def _bury(self, handling: _Handling, reason: str, *, outcome: str = "dead") -> None:
        handling.buried = True
        log.warning("event set aside", entry=str(handling.entry.id), reason=reason, dead=self._stream.dead)
        await self._until_redis_takes(
            lambda: self._stream.bury(handling.entry, reason=reason, at=self._clock.time())
        )
        kind = handling.entry.fields.get(b"type", b"").decode(errors="replace")
        self._telemetry.events.labels(
            kind if kind in {"scale_up", "scale_down"} else "unknown", outcome
        ).inc()
        self._note_settled(handling.entry.id)

    async def _until_redis_takes(self, call: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(initial=0.1, maximum=5.0)
        while True:
            try:
                return await call()
            except REDIS_AWAY:
                await self._clock.sleep(backoff.next())

    def _note_settled(self, id_: EntryId) -> None:
        self._settled[id_] = None
        if len(self._settled) > _REMEMBERED:
            self._settled.popitem(last=False)
        self.on_settled(str(id_))


def _failed(error: BaseException) -> None:
    log.error("an event failed, it will be delivered again", error=error, exc_info=error)
