"""A handler: a real gRPC server that takes logs and status changes, remembers them, and behaves as told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol import ottoscaler_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
Answer = pb.LogForwardResponse


def acknowledge(entry: pb.WorkerLogEntry) -> Answer:
    """Takes everything."""
    return Answer(status=Answer.ACK)


@dataclass(slots=True)
class Received:
    """What came, over all restarts. An entry that was answered RETRY has not come."""

    entries: dict[str, list[pb.WorkerLogEntry]] = field(default_factory=lambda: defaultdict(list))
    """By worker, in the order in which they were taken."""
    repeated: int = 0
    """Entries that came a second time under the same number: their answer had been lost."""
    notifications: dict[str, list[pb.WorkerStatusNotification]] = field(
        default_factory=lambda: defaultdict(list)
    )
    numbers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def lines(self, worker: str) -> list[str]:
        """The messages of a worker's own lines."""
        return [each.message for each in self.entries[worker] if each.source != "ottoscaler"]

    def dropped(self, worker: str) -> int:
        """Lines that were announced as missing."""
        return sum(int(each.metadata.get("dropped_lines", 0)) for each in self.entries[worker])

    def told(self, worker: str) -> list[str]:
        """As `stages`, each once: a leader that was killed leaves it open whether the last ones were told."""
        return list(dict.fromkeys(self.stages(worker)))

    def stages(self, worker: str) -> list[str]:
        """The names of the transitions that were told, in order."""
        names = pb.WorkerStatusNotification.StatusType.Name
        return [names(each.status) for each in self.notifications[worker]]


class Handler(rpc.OttoHandlerLogServiceServicer):
    """`async with Handler() as handler:` serves on `handler.port`; `stop` and `start` restart it there."""

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.port = port
        self.credentials = credentials
        """For TLS, from the next start on."""
        self.received = Received()
        self.answer: Callable[[pb.WorkerLogEntry], Answer] = acknowledge
        self.acknowledge: Callable[[pb.WorkerStatusNotification], pb.WorkerStatusAck] = lambda news: (
            pb.WorkerStatusAck(status=pb.WorkerStatusAck.RECEIVED)
        )
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        rpc.add_OttoHandlerLogServiceServicer_to_server(self, server)
        if self.credentials is None:
            self.port = server.add_insecure_port(self.address)
        else:
            self.port = server.add_secure_port(self.address, self.credentials)
        await server.start()
        self._server = server

    async def stop(self, grace: float | None = None) -> None:
        """At once, in the middle of whatever is under way, unless there is a grace."""
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def ForwardWorkerLogs(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WorkerLogEntry], context: Context
    ) -> AsyncIterator[Answer]:
        number = 0
        async for entry in request_iterator:
            number += 1
            answer = self.answer(entry)
            answer.sequence = number
            if answer.status == Answer.ACK:
                self._take(entry)
            yield answer

    def _take(self, entry: pb.WorkerLogEntry) -> None:
        """Once: a receiver tells by worker and number that an entry comes again."""
        key = entry.metadata["line"] + entry.metadata.get("dropped_lines", "")
        if key in self.received.numbers[entry.worker_id]:
            self.received.repeated += 1
            return
        self.received.numbers[entry.worker_id].add(key)
        self.received.entries[entry.worker_id].append(entry)

    async def NotifyWorkerStatus(  # noqa: N802
        self, request: pb.WorkerStatusNotification, context: Context
    ) -> pb.WorkerStatusAck:
        ack = self.acknowledge(request)
        if ack.status == pb.WorkerStatusAck.RECEIVED:
            self.received.notifications[request.worker_id].append(request)
        await asyncio.sleep(0)
        return ack
