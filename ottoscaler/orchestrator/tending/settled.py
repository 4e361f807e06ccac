"""Knows when the order of an ended worker can no longer come again, so that the pod may go.

An event that is delivered once more finds out from the pod that its worker has been; so the pod stays
until Redis has the event's acknowledgement. Everybody who waits is answered by one question to Redis,
and at once for what this process acknowledged itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ottoscaler.orchestrator.events.entry import EntryId
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.scaling import SettlementUnknown
from ottoscaler.orchestrator.worker import Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.redis_client import REDIS_AWAY

log = get_logger("workers")

_INTERVAL = 0.5
_SLOWEST = 5.0


class Ledger:
    """Answers for all workers. Without `events` nothing is read from a stream. `run` asks Redis."""

    def __init__(
        self, *, events: bool, others: Iterable[Callable[[Worker], Awaitable[None]]], clock: Clock
    ) -> None:
        self._events = events
        self._others = tuple(others)
        """Return when a call, or a pipeline, will not ask for the worker again."""
        self._stream: EventStream | None = None
        self._clock = clock
        self._waiting: dict[str, asyncio.Event] = {}
        self._wanted = asyncio.Event()

    def attach(self, stream: EventStream) -> None:
        """The stream is there from now on; until then its events count as unsettled."""
        self._stream = stream

    async def wait(self, worker: Worker) -> None:
        """Returns when the worker's order cannot come again; at once when it never could."""
        for other in self._others:
            await other(worker)
        if worker.event is None or not self._events or _parse(worker.event) is None:
            return
        settled = self._waiting.setdefault(worker.event, asyncio.Event())
        self._wanted.set()
        await settled.wait()

    def note(self, event: str) -> None:
        """This process has acknowledged `event`."""
        if settled := self._waiting.pop(event, None):
            settled.set()

    async def unsettled(self, events: Iterable[str]) -> set[str]:
        """Those of `events` that may come again. Raises `SettlementUnknown`."""
        ids = [id_ for event in events if (id_ := _parse(event)) is not None]
        if not ids or not self._events:
            return set()
        if self._stream is None:
            raise SettlementUnknown
        try:
            return {str(id_) for id_ in await self._stream.unsettled(ids)}
        except REDIS_AWAY as error:
            raise SettlementUnknown from error

    async def settle(self, events: Iterable[str]) -> None:
        """Acknowledges `events` in whoever's name. Raises `SettlementUnknown`."""
        ids = [id_ for event in events if (id_ := _parse(event)) is not None]
        if not ids or not self._events:
            return
        if self._stream is None:
            raise SettlementUnknown
        try:
            await self._stream.acknowledge(ids)
        except REDIS_AWAY as error:
            raise SettlementUnknown from error

    async def run(self) -> None:
        """Asks for everybody who waits, until cancelled."""
        pause = _INTERVAL
        while True:
            await self._wanted.wait()
            asked = tuple(self._waiting)
            try:
                unsettled = await self.unsettled(asked)
            except SettlementUnknown:
                unsettled = set(asked)
            settled = [event for event in asked if event not in unsettled]
            for event in settled:
                self.note(event)
            pause = _INTERVAL if settled else min(_SLOWEST, pause * 1.5)
            if not self._waiting:
                self._wanted.clear()
                pause = _INTERVAL
                continue
            await self._clock.sleep(pause)


def _parse(event: str) -> EntryId | None:
    """None for what no stream gave: a person wrote over the annotation."""
    try:
        return EntryId.parse(event)
    except ValueError:
        return None
