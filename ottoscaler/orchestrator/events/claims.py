"""Takes over the events of replicas that have gone silent: the leader's duty."""

from collections.abc import Awaitable, Callable

from ottoscaler.orchestrator.events.consumer import EventConsumer, EventRules
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.redis_client import REDIS_AWAY

log = get_logger("events")

_FORGET_EVERY = 600.0
_FORGET_AFTER = 3600.0
_AT_ONCE = 100


class Claims:
    """Claims for this replica's consumer, which carries out what is claimed."""

    def __init__(
        self,
        *,
        current: Callable[[], Awaitable[tuple[EventStream, EventConsumer]]],
        rules: EventRules,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._current = current
        """The stream and who reads it now: another one when reading has begun anew. Waits while there is none."""
        self._rules = rules
        self._telemetry = telemetry
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. A Redis that is away is the consumer's to complain of."""
        swept = self._clock.monotonic()
        while True:
            stream, consumer = await self._current()
            try:
                await self._claim(stream, consumer)
                if self._clock.monotonic() - swept > _FORGET_EVERY:
                    swept = self._clock.monotonic()
                    if gone := await stream.forget_silent_consumers(idle=_FORGET_AFTER):
                        log.info("forgot consumers that went away", consumers=gone)
            except REDIS_AWAY as error:
                log.debug("cannot claim events", error=error)
            await self._clock.sleep(self._rules.claim_idle / 4)

    async def _claim(self, stream: EventStream, consumer: EventConsumer) -> None:
        cursor = "-"
        while cursor:
            asked = self._clock.monotonic()
            cursor, entries = await stream.claim(idle=self._rules.claim_idle, start=cursor, count=_AT_ONCE)
            if entries:
                log.info("took over events of a silent consumer", events=len(entries))
                self._telemetry.events_claimed.inc(len(entries))
            for entry in entries:
                consumer.take(entry, asked=asked)
