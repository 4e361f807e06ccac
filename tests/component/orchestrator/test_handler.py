"""The way to the handler: in order, until taken; one worker's trouble is no other's."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import CapturingLogger

from ottoscaler.orchestrator.certificates import UnusableCertificate
from ottoscaler.orchestrator.config.model import Handler as Settings
from ottoscaler.orchestrator.config.model import HandlerTls
from ottoscaler.orchestrator.handler import link as link_module
from ottoscaler.orchestrator.handler.buffer import Budget, Item, LogBuffer
from ottoscaler.orchestrator.handler.entries import log_entry
from ottoscaler.orchestrator.handler.forward import Forwarder
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.handler.notify import Notifier, Outbox
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol import ottoscaler_pb2_grpc as rpc
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from tests.orchestrator.handler import Answer, Handler
from tests.redis.certificates import Authority
from tests.waiting import until

Status = pb.WorkerStatusNotification.StatusType
STORY = (Status.CREATED, Status.RUNNING, Status.COMPLETED)


@dataclass(slots=True)
class Sending:
    """Our end: a link, and what sends over it."""

    link: HandlerLink
    telemetry: Telemetry
    streams: asyncio.Semaphore
    notifier: Notifier
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def worker(self, name: str, count: int, *, close: bool = True) -> LogBuffer:
        """Begins to forward `count` lines of a worker; unless `close`, more may come."""
        buffer = LogBuffer(lines=10_000, size=10**9, budget=Budget(10**9))
        for number in range(1, count + 1):
            buffer.put(Item(number, float(number), f"line {number}", source="worker"))
        if close:
            buffer.close()
        forwarder = Forwarder(
            buffer=buffer,
            entry=lambda item: log_entry(item, worker_id=name, task_id="t", pod=None),
            link=self.link,
            streams=self.streams,
            telemetry=self.telemetry,
            clock=SYSTEM_CLOCK,
        )
        self.tasks.append(asyncio.create_task(forwarder.run()))
        return buffer

    def story(self, name: str) -> Outbox:
        """Begins to tell what became of a worker."""
        outbox = Outbox()
        for status in STORY:
            news = pb.WorkerStatusNotification(worker_id=name, task_id="t", status=status)
            self.notifier.tell(outbox, news)
        return outbox

    def count(self, metric: str, outcome: str) -> float:
        value = self.telemetry.registry.get_sample_value(f"otto_{metric}_total", {"outcome": outcome})
        return value or 0.0


@asynccontextmanager
async def sending(
    handler: Handler, *, streams: int = 80, tls: HandlerTls | None = None
) -> AsyncIterator[Sending]:
    telemetry = Telemetry()
    settings = Settings(address=handler.address, tls=tls)
    link = HandlerLink(settings, telemetry=telemetry, clock=SYSTEM_CLOCK)
    notifier = Notifier(link, telemetry=telemetry, clock=SYSTEM_CLOCK)
    each = Sending(link, telemetry, asyncio.Semaphore(streams), notifier)
    reopening = asyncio.create_task(link.run())
    try:
        yield each
    finally:
        for task in (reopening, *each.tasks):
            task.cancel()
        await asyncio.gather(reopening, *each.tasks, return_exceptions=True)
        await notifier.close()
        await link.close()


def lines(count: int) -> list[str]:
    return [f"line {number}" for number in range(1, count + 1)]


async def test_what_waits_when_forwarding_is_ended_gives_its_room_back() -> None:
    """The Lease is lost: the next leader reads these lines again, and this process lives on."""
    async with Handler() as handler, sending(handler) as ours:
        handler.answer = lambda entry: Answer(status=Answer.RETRY, throttle_ms=1)
        buffer = ours.worker("w", 5, close=False)
        await until(lambda: ours.count("log_lines", "retried"), what="the first line is under way")
        assert buffer.bytes > 0
        ours.tasks[0].cancel()
        await asyncio.wait(ours.tasks)
        assert (len(buffer), buffer.bytes) == (0, 0)


async def test_what_is_answered_retry_comes_again_before_anything_else() -> None:
    refusals: dict[str, int] = defaultdict(int)

    def answer(entry: pb.WorkerLogEntry) -> Answer:
        refusals[entry.message] += 1
        again = entry.message in {"line 3", "line 4", "line 9"} and refusals[entry.message] <= 3
        return Answer(status=Answer.RETRY, throttle_ms=1) if again else Answer(status=Answer.ACK)

    async with Handler() as handler, sending(handler) as ours:
        handler.answer = answer
        ours.worker("w", 10)
        await asyncio.gather(*ours.tasks)
        assert handler.received.lines("w") == lines(10)
        assert ours.count("log_lines", "retried") == 9
        assert ours.count("log_lines", "forwarded") == 10


async def test_what_the_handler_does_not_want_is_not_sent_again_and_is_counted() -> None:
    async with Handler() as handler, sending(handler) as ours:
        handler.answer = lambda entry: Answer(status=Answer.DROP if entry.message == "line 2" else Answer.ACK)
        ours.worker("w", 3)
        await asyncio.gather(*ours.tasks)
        assert handler.received.lines("w") == ["line 1", "line 3"]
        assert ours.count("log_lines", "dropped_by_handler") == 1


async def test_a_throttled_worker_waits_and_others_do_not() -> None:
    async with Handler() as handler, sending(handler) as ours:
        handler.answer = lambda entry: Answer(
            status=Answer.ACK, throttle_ms=60_000 if entry.worker_id == "slow" else 0
        )
        slow = ours.worker("slow", 3)
        ours.worker("quick", 100)
        await ours.tasks[1]
        assert handler.received.lines("quick") == lines(100)
        await until(lambda: handler.received.lines("slow") == ["line 1"])
        assert len(slow) == 2


async def test_a_worker_whose_stream_is_silent_delays_no_other() -> None:
    """More silent ones than streams would be too many; up to that, the others share what is left."""
    silence = asyncio.Event()

    class Silent(Handler):
        async def ForwardWorkerLogs(  # noqa: N802
            self, request_iterator: AsyncIterator[pb.WorkerLogEntry], context: Any
        ) -> AsyncIterator[Answer]:
            async for entry in request_iterator:
                if entry.worker_id.startswith("silent"):
                    await silence.wait()
                self._take(entry)
                yield Answer(status=Answer.ACK)

    async with Silent() as handler, sending(handler, streams=4) as ours:
        for number in range(3):
            ours.worker(f"silent-{number}", 5)
        await asyncio.sleep(0.05)
        for number in range(20):
            ours.worker(f"w-{number}", 30)
            ours.story(f"w-{number}")
        await asyncio.gather(*ours.tasks[3:])
        for number in range(20):
            assert handler.received.lines(f"w-{number}") == lines(30)
        await until(lambda: ours.count("notifications", "told") == 60)
        assert ours.link.available
        silence.set()
        await asyncio.gather(*ours.tasks)
        assert handler.received.lines("silent-0") == lines(5)


async def test_workers_that_go_on_and_on_take_turns() -> None:
    """Their buffers stay open, and there are more of them than streams."""
    async with Handler() as handler, sending(handler, streams=2) as ours:
        buffers = [ours.worker(f"w-{number}", 3, close=False) for number in range(6)]
        await until(
            lambda: all(handler.received.lines(f"w-{number}") == lines(3) for number in range(6)),
            what="each had a turn",
        )
        for buffer in buffers:
            buffer.put(Item(4, 4.0, "line 4", source="worker"))
        await until(
            lambda: all(handler.received.lines(f"w-{number}") == lines(4) for number in range(6)),
            what="and another",
        )


async def test_a_line_over_which_the_handler_breaks_the_stream_is_given_up_and_announced() -> None:
    class Choking(Handler):
        async def ForwardWorkerLogs(  # noqa: N802
            self, request_iterator: AsyncIterator[pb.WorkerLogEntry], context: Any
        ) -> AsyncIterator[Answer]:
            async for entry in request_iterator:
                if entry.message == "line 2":
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such line")
                self._take(entry)
                yield Answer(status=Answer.ACK)

    async with Choking() as handler, sending(handler) as ours:
        ours.worker("w", 4)
        await asyncio.gather(*ours.tasks)
        assert handler.received.lines("w") == ["line 1", "line 3", "line 4"]
        word = handler.received.entries["w"][1]
        assert (word.source, word.level, word.metadata["line"]) == ("ottoscaler", "WARN", "2")
        assert word.message == "1 log line is missing here: the handler ended the stream over it 5 times"
        assert ours.count("log_lines", "dropped_by_handler") == 1
        assert ours.link.available, "it is not away"


async def test_what_happened_is_told_in_order_each_until_it_is_acknowledged() -> None:
    attempts: dict[tuple[str, int], int] = defaultdict(int)

    def acknowledge(news: pb.WorkerStatusNotification) -> pb.WorkerStatusAck:
        attempts[news.worker_id, news.status] += 1
        first = attempts[news.worker_id, news.status] == 1
        return pb.WorkerStatusAck(status=pb.WorkerStatusAck.ERROR if first else pb.WorkerStatusAck.RECEIVED)

    async with Handler() as handler, sending(handler) as ours:
        handler.acknowledge = acknowledge
        outboxes = [ours.story(f"w-{number}") for number in range(30)]
        await asyncio.gather(*(outbox.empty.wait() for outbox in outboxes))
        for number in range(30):
            assert handler.received.stages(f"w-{number}") == ["CREATED", "RUNNING", "COMPLETED"]
        assert ours.count("notifications", "told") == 90


async def test_a_worker_of_which_the_handler_will_not_hear_delays_no_other() -> None:
    class Choosy(Handler):
        async def NotifyWorkerStatus(  # noqa: N802
            self, request: pb.WorkerStatusNotification, context: Any
        ) -> pb.WorkerStatusAck:
            if request.worker_id.startswith("bad"):
                await context.abort(grpc.StatusCode.INTERNAL, "an accident")
            return await super().NotifyWorkerStatus(request, context)

    async with Choosy() as handler, sending(handler) as ours:
        for number in range(40):
            ours.story(f"bad-{number}")
        outboxes = [ours.story(f"good-{number}") for number in range(20)]
        await asyncio.gather(*(outbox.empty.wait() for outbox in outboxes))
        assert ours.link.available
        for number in range(20):
            assert handler.received.stages(f"good-{number}") == ["CREATED", "RUNNING", "COMPLETED"]


async def test_a_handler_that_knows_no_notifications_is_not_asked_again() -> None:
    class Old(Handler):
        async def NotifyWorkerStatus(  # noqa: N802
            self, request: pb.WorkerStatusNotification, context: Any
        ) -> pb.WorkerStatusAck:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
            raise AssertionError

    async with Old() as handler, sending(handler) as ours:
        await ours.story("w").empty.wait()
        assert ours.count("notifications", "refused") == 3


async def test_a_handler_that_goes_away_gets_everything_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = CapturingLogger()
    monkeypatch.setattr(link_module, "log", said)
    await _go_away_and_come_back()
    warnings = [each for each in said.calls if each.method_name == "warning"]
    assert len(warnings) == 1, "once for the outage, not for each worker"


async def _go_away_and_come_back() -> None:
    async with Handler() as handler, sending(handler) as ours:
        buffers = [ours.worker(f"w-{number}", 20, close=False) for number in range(10)]
        await until(lambda: all(handler.received.lines(f"w-{number}") == lines(20) for number in range(10)))
        await handler.stop()
        for buffer in buffers:
            buffer.put(Item(21, 21.0, "line 21", source="worker"))
        outboxes = [ours.story(f"w-{number}") for number in range(10)]
        await until(lambda: not ours.link.available, what="somebody has noticed")
        await handler.start()
        await asyncio.gather(*(outbox.empty.wait() for outbox in outboxes))
        await until(lambda: all(handler.received.lines(f"w-{number}") == lines(21) for number in range(10)))
        for number in range(10):
            assert handler.received.stages(f"w-{number}") == ["CREATED", "RUNNING", "COMPLETED"]


async def test_quiet_workers_keep_no_stream_when_the_handler_restarts() -> None:
    """Their streams broke with nothing unanswered, and they may say nothing for hours."""
    async with Handler() as handler, sending(handler, streams=2) as ours:
        for number in range(4):
            ours.worker(f"quiet-{number}", 1, close=False)
        await until(lambda: all(handler.received.lines(f"quiet-{number}") for number in range(4)))
        for number in range(2):  # each holds a stream, with nothing to say
            ours.worker(f"holder-{number}", 1, close=False)
        await until(lambda: all(handler.received.lines(f"holder-{number}") for number in range(2)))
        await handler.stop()
        await handler.start()
        await until(lambda: not ours.streams.locked(), within=10, what="the quiet ones have let go")
        ours.worker("w", 3)
        await until(lambda: handler.received.lines("w") == lines(3), within=10, what="others go on")


async def test_a_handler_that_ends_every_stream_with_an_error_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Rude(Handler):
        async def ForwardWorkerLogs(  # noqa: N802
            self, request_iterator: AsyncIterator[pb.WorkerLogEntry], context: Any
        ) -> AsyncIterator[Answer]:
            async for entry in request_iterator:
                self._take(entry)
                yield Answer(status=Answer.ACK)
            await context.abort(grpc.StatusCode.INTERNAL, "an accident at the end")

    async with Rude() as handler, sending(handler, streams=1) as ours:
        failures: list[BaseException] = []
        monkeypatch.setattr(ours.link, "failed", failures.append)
        quiet = ours.worker("quiet", 1, close=False)
        await until(lambda: handler.received.lines("quiet"))
        ours.worker("w", 3)
        await until(lambda: handler.received.lines("w") == lines(3), within=10, what="others go on")
        quiet.close()
        await asyncio.gather(*ours.tasks)
        assert not failures, "it is not away"


@pytest.mark.parametrize(("allowed", "workers"), [(100, 150), (10, 25)])
async def test_a_server_that_allows_few_streams_gets_everything(allowed: int, workers: int) -> None:
    """So many calls may run at once on a connection; those beyond wait, and nobody is told."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", allowed)))
    handler = Handler()
    rpc.add_OttoHandlerLogServiceServicer_to_server(handler, server)
    handler.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    names = [f"w-{number}" for number in range(workers)]
    try:
        async with sending(handler) as ours:
            for name in names:
                ours.worker(name, 4, close=False)
            outboxes = [ours.story(name) for name in names]
            async with asyncio.timeout(60):
                await asyncio.gather(*(outbox.empty.wait() for outbox in outboxes))
            await until(
                lambda: all(handler.received.lines(name) == lines(4) for name in names),
                what="each worker's lines come",
            )
            assert handler.received.repeated == 0
    finally:
        await server.stop(None)


def _credentials(authority: Authority) -> grpc.ServerCredentials:
    """The handler's, which asks for a client's certificate of the same authority."""
    pair, trusted = authority.issue("handler", address="127.0.0.1"), authority.certificate.read_bytes()
    chain = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
    return grpc.ssl_server_credentials(chain, root_certificates=trusted, require_client_auth=True)


async def test_renewed_certificates_need_no_restart(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = Authority(tmp_path / "first"), Authority(tmp_path / "second")
    files = HandlerTls(
        ca_file=tmp_path / "ca.crt", cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key"
    )
    assert files.cert_file is not None and files.key_file is not None

    def mount(authority: Authority) -> None:
        pair = authority.issue("orchestrator")
        for file, source in (
            (files.ca_file, authority.certificate),
            (files.cert_file, pair.certificate),
            (files.key_file, pair.key),
        ):
            assert file is not None
            file.write_bytes(source.read_bytes())

    mount(first)
    async with Handler(credentials=_credentials(first)) as handler, sending(handler, tls=files) as ours:
        ours.worker("before", 3)
        await until(lambda: handler.received.lines("before") == lines(3))
        await handler.stop()
        handler.credentials = _credentials(second)
        await handler.start()
        files.ca_file.write_bytes(b"half a certi")
        ours.worker("after", 3)
        await until(lambda: not ours.link.available, what="the handler is another one")
        assert not handler.received.lines("after")
        mount(second)
        await until(lambda: handler.received.lines("after") == lines(3), what="it is trusted again")


def test_certificates_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    tls = HandlerTls(ca_file=tmp_path / "ca.crt")
    with pytest.raises(UnusableCertificate, match=r"ca\.crt: No such file"):
        HandlerLink(Settings(tls=tls), telemetry=Telemetry(), clock=SYSTEM_CLOCK)
    tls.ca_file.write_text("nothing")
    with pytest.raises(UnusableCertificate, match=r"ca\.crt has no PEM certificate"):
        HandlerLink(Settings(tls=tls), telemetry=Telemetry(), clock=SYSTEM_CLOCK)
