"""LogStreamingService: logs that workers push themselves, forwarded like those that we follow.

An entry is acknowledged when it is in the worker's buffer: a handler that is away must not hold a
worker up. What does not fit is answered RETRY, so the worker keeps it; what never will is answered DROP.
Lines are numbered within a session, whose id goes with them: a worker that comes back after a long
silence, or to another replica, begins a new one.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from ottoscaler.orchestrator.handler.buffer import Budget, Item, LogBuffer
from ottoscaler.orchestrator.handler.entries import log_entry
from ottoscaler.orchestrator.handler.forward import Forwarder
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import LogStreamingServiceServicer
from ottoscaler.orchestrator.service.calls import Context, check_decoded, fail, streaming, unary
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.times import parse_time
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import TaskSet

log = get_logger("logs")

_IDLE = 600.0
_SWEEP = 60.0
_ID_LENGTH = 1024
_REGISTRATION_BYTES = 64 * 1024
_Status = pb.LogResponse.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRules:
    """Limits of one worker, except `sessions`."""

    rate: int = 500
    """Entries a second."""
    buffer_lines: int = 2000
    buffer_bytes: int = 512 * 1024
    message_bytes: int = 64 * 1024
    sessions: int = 2000


@dataclass(eq=False, slots=True)
class _Session:
    id: str
    task_id: str
    pod: pb.WorkerMetadata | None
    buffer: LogBuffer
    tokens: float
    filled_at: float
    seen_at: float
    number: int = 0


class PushedLogs(LogStreamingServiceServicer):
    """The servicer. `link` is None where there is no handler."""

    def __init__(
        self,
        *,
        link: HandlerLink | None,
        rules: PushRules,
        budget: Budget,
        streams: asyncio.Semaphore,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._link = link
        self._rules = rules
        self._budget = budget
        self._streams = streams
        self._telemetry = telemetry
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._leaving = asyncio.Event()
        self._forwarding = TaskSet(lambda error: log.error("forwarding failed", error=error, exc_info=error))

    @unary
    async def RegisterWorker(  # noqa: N802
        self, request: pb.WorkerRegistration, context: Context
    ) -> pb.RegistrationResponse:
        if problem := _problem(request.worker_id, request.task_id):
            return pb.RegistrationResponse(status=pb.RegistrationResponse.INVALID_REQUEST, message=problem)
        if request.ByteSize() > _REGISTRATION_BYTES:
            return pb.RegistrationResponse(
                status=pb.RegistrationResponse.INVALID_REQUEST,
                message=f"the registration has {request.ByteSize()} bytes: at most {_REGISTRATION_BYTES} are allowed",
            )
        known = self._sessions.get(request.worker_id)
        if known is not None and known.task_id != request.task_id:
            return pb.RegistrationResponse(
                status=pb.RegistrationResponse.INVALID_REQUEST,
                message=f"worker_id belongs to task {known.task_id[:80]!r}: two workers cannot share one",
            )
        if known is not None:
            known.seen_at = self._clock.monotonic()
            return self._registered(known, pb.RegistrationResponse.ALREADY_REGISTERED)
        pod = request.metadata if request.HasField("metadata") else None
        session = self._open(request.worker_id, request.task_id, pod)
        if session is None:
            return pb.RegistrationResponse(
                status=pb.RegistrationResponse.SERVER_FULL,
                message=f"{self._rules.sessions} workers push their logs already: try again later",
            )
        return self._registered(session, pb.RegistrationResponse.SUCCESS)

    def _registered(
        self, session: _Session, status: pb.RegistrationResponse.Status
    ) -> pb.RegistrationResponse:
        return pb.RegistrationResponse(
            status=status,
            session_id=session.id,
            config=pb.LoggingConfig(
                rate_limit=self._rules.rate,
                buffer_size=self._rules.buffer_lines,
                max_message_size=self._rules.message_bytes,
                include_metadata=True,
            ),
        )

    @streaming
    async def StreamLogs(  # noqa: N802
        self, request: AsyncIterator[pb.LogEntry], context: Context
    ) -> AsyncIterator[pb.LogResponse]:
        sequence = 0
        async for entry in self._until_leaving(request):
            check_decoded(entry)
            sequence += 1
            status, message = self._take(entry)
            yield pb.LogResponse(status=status, message=message, sequence=sequence)

    async def _until_leaving(self, request: AsyncIterator[pb.LogEntry]) -> AsyncIterator[pb.LogEntry]:
        """Raises `Refused` when the process ends: what was not answered is to be sent elsewhere."""
        leaving = asyncio.ensure_future(self._leaving.wait())
        coming: asyncio.Future[pb.LogEntry | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(request, None))
                await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    fail(grpc.StatusCode.UNAVAILABLE, "the orchestrator is going away: connect again")
                entry = coming.result()
                if entry is None:
                    return
                yield entry
        finally:
            for each in (leaving, coming):
                if each is not None:
                    each.cancel()

    def _take(self, entry: pb.LogEntry) -> tuple[_Status, str]:
        if self._link is None:
            return pb.LogResponse.DROP, "no handler is configured: nobody takes logs"
        if problem := _problem(entry.worker_id, entry.task_id):
            return pb.LogResponse.DROP, problem
        size = entry.ByteSize()
        if size > self._rules.message_bytes:
            self._telemetry.log_lines.labels("dropped_by_size").inc()
            return (
                pb.LogResponse.DROP,
                f"the entry has {size} bytes: at most {self._rules.message_bytes} are allowed",
            )
        session = self._sessions.get(entry.worker_id) or self._open(entry.worker_id, entry.task_id, None)
        if session is None:
            return pb.LogResponse.RETRY, f"{self._rules.sessions} workers push their logs already"
        if not self._spend(session):
            return pb.LogResponse.RETRY, f"more than {self._rules.rate} entries a second"
        if session.buffer.full:
            return pb.LogResponse.RETRY, "the handler is behind"
        session.number += 1
        session.buffer.put(
            Item(
                session.number,
                parse_time(entry.timestamp) or self._clock.time(),
                entry.message,
                level=entry.level,
                source=entry.source,
                metadata={**entry.metadata, "session": session.id},
            )
        )
        return pb.LogResponse.ACK, ""

    def _spend(self, session: _Session) -> bool:
        """A bucket of one second's entries."""
        now = self._clock.monotonic()
        rate = self._rules.rate
        session.tokens = min(float(rate), session.tokens + (now - session.filled_at) * rate)
        session.filled_at = session.seen_at = now
        if session.tokens < 1:
            return False
        session.tokens -= 1
        return True

    def _open(self, worker_id: str, task_id: str, pod: pb.WorkerMetadata | None) -> _Session | None:
        """None when there are too many."""
        if len(self._sessions) >= self._rules.sessions:
            return None
        now = self._clock.monotonic()
        buffer = LogBuffer(lines=self._rules.buffer_lines, size=self._rules.buffer_bytes, budget=self._budget)
        session = _Session(secrets.token_hex(16), task_id, pod, buffer, float(self._rules.rate), now, now)
        if self._link is not None:
            forwarder = Forwarder(
                buffer=buffer,
                entry=lambda item: log_entry(item, worker_id=worker_id, task_id=task_id, pod=pod),
                link=self._link,
                streams=self._streams,
                telemetry=self._telemetry,
                clock=self._clock,
            )
            self._forwarding.start(forwarder.run())
        self._sessions[worker_id] = session
        return session

    async def run(self) -> None:
        """Closes sessions that were silent for long, until cancelled."""
        while True:
            await self._clock.sleep(_SWEEP)
            oldest = self._clock.monotonic() - _IDLE
            for worker_id, session in tuple(self._sessions.items()):
                if session.seen_at < oldest:
                    session.buffer.close()
                    del self._sessions[worker_id]

    def leave(self) -> None:
        """The process ends: streams are ended, and workers connect to another replica."""
        self._leaving.set()

    async def close(self, seconds: float) -> None:
        """Gives the handler so long to take what is buffered."""
        for session in self._sessions.values():
            session.buffer.close()
        self._sessions.clear()
        await self._forwarding.wait(seconds)
        await self._forwarding.cancel()


def _problem(worker_id: str, task_id: str) -> str:
    """What is wrong with the ids; empty when nothing is."""
    if not worker_id.strip():
        return "worker_id is missing"
    if len(worker_id) > _ID_LENGTH or len(task_id) > _ID_LENGTH:
        return f"worker_id or task_id has more than {_ID_LENGTH} characters"
    return ""
