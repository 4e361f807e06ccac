"""A handler as a process of its own, which misbehaves as told and can be killed.

    python -m tests.orchestrator.handler_process PORT RECORD MANNERS

What it takes it writes to the file RECORD before it answers, so the file tells what came, in order, over
all its lives, also when it was killed between the two. MANNERS is `Manners` as JSON.
"""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import msgspec

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol import ottoscaler_pb2_grpc as rpc
from tests.orchestrator.replica import ROOT
from tests.ports import free_port
from tests.waiting import until

Context = grpc.aio.ServicerContext[Any, Any]
Answer = pb.LogForwardResponse


class Manners(msgspec.Struct, kw_only=True, frozen=True):
    """How often it does what, as shares of all entries. At once, without an entry's fault."""

    seed: int = 0
    retry: float = 0.0
    """RETRY: the entry was not taken."""
    retry_later: float = 0.0
    """RETRY with `throttle_ms`."""
    throttle: float = 0.0
    """ACK with `throttle_ms`."""
    throttle_ms: int = 20
    drop: float = 0.0
    """DROP: the handler does not want it, and says so."""
    break_before: float = 0.0
    """The stream ends, the entry was not taken."""
    break_after: float = 0.0
    """The stream ends, the entry was taken: its answer is lost."""
    deaf_to: str = ""
    """To entries whose message begins so it never answers, and takes none."""
    notify_error: float = 0.0
    """NotifyWorkerStatus answers ERROR, or fails, in equal parts."""


class Taken(msgspec.Struct, frozen=True):
    """One entry or notification that was taken."""

    worker: str
    line: int = 0
    text: str = ""
    dropped: int = 0
    """Above 0: word of so many missing lines, from `line` on."""
    word: bool = False
    stage: str = ""
    """Of a notification."""
    refused: bool = False
    """The handler answered DROP."""


class Servicer(rpc.OttoHandlerLogServiceServicer):
    """Takes, records and misbehaves."""

    def __init__(self, record: Path, manners: Manners) -> None:
        self._file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._manners = manners
        # each life of it is difficult in other places
        self._random = random.Random(f"{manners.seed} {os.fstat(self._file).st_size}")

    async def ForwardWorkerLogs(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WorkerLogEntry], context: Context
    ) -> AsyncIterator[Answer]:
        manners, sequence = self._manners, 0
        async for entry in request_iterator:
            sequence += 1
            chance = _Chance(self._random.random())
            if manners.deaf_to and entry.message.startswith(manners.deaf_to):
                await asyncio.Event().wait()
            if chance.hits(manners.retry):
                yield Answer(status=Answer.RETRY, sequence=sequence)
            elif chance.hits(manners.retry_later):
                yield Answer(status=Answer.RETRY, sequence=sequence, throttle_ms=manners.throttle_ms)
            elif chance.hits(manners.break_before):
                await context.abort(grpc.StatusCode.INTERNAL, "an accident before the entry was taken")
            elif chance.hits(manners.break_after):
                self._take(entry)
                await context.abort(grpc.StatusCode.INTERNAL, "an accident after the entry was taken")
            elif chance.hits(manners.drop):
                self._take(entry, refused=True)
                yield Answer(status=Answer.DROP, sequence=sequence)
            else:
                throttled = chance.hits(manners.throttle)
                self._take(entry)
                yield Answer(
                    status=Answer.ACK,
                    sequence=sequence,
                    throttle_ms=manners.throttle_ms if throttled else 0,
                )

    def _take(self, entry: pb.WorkerLogEntry, *, refused: bool = False) -> None:
        self._write(
            Taken(
                worker=entry.worker_id,
                line=int(entry.metadata["line"]),
                text=entry.message,
                dropped=int(entry.metadata.get("dropped_lines", 0)),
                word="dropped_lines" in entry.metadata,
                refused=refused,
            )
        )

    async def NotifyWorkerStatus(  # noqa: N802
        self, request: pb.WorkerStatusNotification, context: Context
    ) -> pb.WorkerStatusAck:
        chance = _Chance(self._random.random())
        if chance.hits(self._manners.notify_error / 2):
            return pb.WorkerStatusAck(status=pb.WorkerStatusAck.ERROR, message="not now")
        if chance.hits(self._manners.notify_error / 2):
            await context.abort(grpc.StatusCode.INTERNAL, "an accident")
        stage = pb.WorkerStatusNotification.StatusType.Name(request.status)
        self._write(Taken(worker=request.worker_id, stage=stage))
        return pb.WorkerStatusAck(status=pb.WorkerStatusAck.RECEIVED)

    def _write(self, taken: Taken) -> None:
        os.write(self._file, msgspec.json.encode(taken) + b"\n")


class _Chance:
    """One throw of the dice, shared out among what may happen."""

    def __init__(self, thrown: float) -> None:
        self._left = thrown

    def hits(self, share: float) -> bool:
        self._left -= share
        return self._left < 0


class Record:
    """What came, by worker, in order."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Taken]] = defaultdict(list)
        self.stages: dict[str, list[str]] = defaultdict(list)
        self.lines = 0
        """Lines that came, each once."""
        self.announced = 0
        """Lines that were announced as missing."""
        self.refused = 0
        """Lines that the handler did not want."""
        self.repeated = 0
        """Entries that came again under the same number."""
        self._numbers: set[tuple[str, int, bool]] = set()

    def add(self, taken: Taken) -> None:
        if taken.stage:
            self.stages[taken.worker].append(taken.stage)
            return
        key = (taken.worker, taken.line, taken.word)
        if key in self._numbers:
            self.repeated += 1
            if taken not in self.entries[taken.worker]:
                raise AssertionError(f"another text under the same number: {taken}")
            return
        self._numbers.add(key)
        self.entries[taken.worker].append(taken)
        self.announced += taken.dropped
        self.refused += taken.refused
        self.lines += not taken.word and not taken.refused

    def problem(self, worker: str, lines: int) -> str:
        """What is wrong with a worker's lines, of `line 1` to `line <lines>`; empty when nothing is.

        Each must have come once, in its place, or be spoken of in its place.
        """
        expected = 1
        for entry in self.entries[worker]:
            if entry.line != expected:
                return f"{worker}: {entry.line} came where {expected} was expected"
            if entry.word:
                expected += entry.dropped
            elif entry.text != f"line {entry.line}":
                return f"{worker}: line {entry.line} says {entry.text!r}"
            else:
                expected += 1
        return "" if expected == lines + 1 else f"{worker}: {expected - 1} lines of {lines}"


class HandlerProcess:
    """`async with HandlerProcess(directory, manners) as handler:` serves until it is killed."""

    def __init__(self, directory: Path, manners: Manners) -> None:
        self.port = free_port()
        self.manners = manners
        self.lives = 0
        self._file = directory / "handler.record"
        self._file.touch()
        self._log = directory / "handler.log"
        self._read = 0
        self._record = Record()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def record(self) -> Record:
        """What has come by now."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            complete, _, _ = file.read().rpartition(b"\n")
        for line in complete.splitlines():
            self._record.add(msgspec.json.decode(line, type=Taken))
        self._read += len(complete) + (1 if complete else 0)
        return self._record

    async def start(self) -> None:
        """Returns when it serves."""
        self.lives += 1
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.orchestrator.handler_process",
                str(self.port),
                str(self._file),
                msgspec.json.encode(self.manners).decode(),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await until(self._serves, what="the handler serves")

    async def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self._log.read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def kill(self) -> None:
        """As `kill -9` does."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """It hangs until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"── handler\n{self._log.read_text()[-4000:]}")
        await self.kill()


async def main(arguments: list[str]) -> None:
    port, record, manners = arguments
    servicer = Servicer(Path(record), msgspec.json.decode(manners, type=Manners))
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    rpc.add_OttoHandlerLogServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
