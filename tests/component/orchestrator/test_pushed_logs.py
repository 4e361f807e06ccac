"""Logs that workers push themselves: sessions, limits, and the way to the handler."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from tests.component.orchestrator.mocked import Calls, mocked
from tests.orchestrator.handler import Handler
from tests.waiting import until

Registered = pb.RegistrationResponse
Taken = pb.LogResponse


@asynccontextmanager
async def pushing(**logs: Any) -> AsyncIterator[tuple[Calls, Handler]]:
    """An orchestrator with these limits, and a handler."""
    async with (
        Handler() as handler,
        mocked(handler={"address": handler.address}, logs=logs) as (calls, _),
    ):
        yield calls, handler


def entry(number: int = 1, *, worker: str = "w-1", **fields: Any) -> pb.LogEntry:
    return pb.LogEntry(**({"worker_id": worker, "task_id": "t", "message": f"line {number}"} | fields))


async def push(calls: Calls, entries: list[pb.LogEntry]) -> list[pb.LogResponse]:
    """All on one stream; the answers, one for each."""
    stream: Any = calls.logs.StreamLogs()
    answers = []
    for each in entries:
        await stream.write(each)
        answers.append(await stream.read())
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    return answers


async def register(calls: Calls, worker: str = "w-1", task: str = "t", **fields: Any) -> Registered:
    return await calls.logs.RegisterWorker(pb.WorkerRegistration(worker_id=worker, task_id=task, **fields))


async def test_a_registered_worker_learns_its_session_and_limits() -> None:
    async with pushing(pushRate=70, bufferLines=30, lineLimit=1000) as (calls, _):
        answer = await register(calls)
        assert answer.status == Registered.SUCCESS
        assert len(answer.session_id) == 32
        config = answer.config
        assert (config.rate_limit, config.buffer_size, config.max_message_size) == (70, 30, 1000)
        again = await register(calls)
        assert (again.status, again.session_id) == (Registered.ALREADY_REGISTERED, answer.session_id)


async def test_registrations_that_cannot_be_meant() -> None:
    async with pushing() as (calls, _):
        await register(calls)
        labels = {f"label-{number}": "x" * 1000 for number in range(100)}
        for registration, words in (
            (pb.WorkerRegistration(), "worker_id is missing"),
            (pb.WorkerRegistration(worker_id=" "), "worker_id is missing"),
            (pb.WorkerRegistration(worker_id="x" * 1025), "more than 1024 characters"),
            (pb.WorkerRegistration(worker_id="w", task_id="x" * 1025), "more than 1024 characters"),
            (pb.WorkerRegistration(worker_id="w-1", task_id="other"), "belongs to task 't'"),
            (
                pb.WorkerRegistration(worker_id="w", metadata=pb.WorkerMetadata(labels=labels)),
                "at most 65536 are allowed",
            ),
        ):
            answer = await calls.logs.RegisterWorker(registration)
            assert answer.status == Registered.INVALID_REQUEST
            assert words in answer.message
            assert not answer.session_id


async def test_there_is_room_for_so_many_workers() -> None:
    async with pushing(pushSessions=2) as (calls, _):
        await register(calls, "w-1")
        await register(calls, "w-2")
        answer = await register(calls, "w-3")
        assert answer.status == Registered.SERVER_FULL
        assert "try again later" in answer.message
        (taken,) = await push(calls, [entry(worker="w-3")])
        assert taken.status == Taken.RETRY
        assert (await register(calls, "w-2")).status == Registered.ALREADY_REGISTERED


async def test_what_is_pushed_reaches_the_handler_in_order_and_unchanged() -> None:
    async with pushing() as (calls, handler):
        pod = pb.WorkerMetadata(pod_name="pod-1", node_name="node-1", labels={"team": "ci"})
        session = await register(calls, metadata=pod)
        sent = [
            entry(
                number,
                timestamp="2026-11-21T10:00:00.250Z",
                level="DEBUG",
                source="build",
                metadata={"step": "7"},
            )
            for number in range(1, 201)
        ]
        answers = await push(calls, sent)
        assert {each.status for each in answers} == {Taken.ACK}
        assert [each.sequence for each in answers] == list(range(1, 201))
        received = handler.received
        await until(lambda: len(received.entries["w-1"]) == 200, what="all have come")
        assert received.lines("w-1") == [each.message for each in sent]
        first = received.entries["w-1"][0]
        assert (first.timestamp, first.level, first.source) == ("2026-11-21T10:00:00.250Z", "DEBUG", "build")
        assert first.metadata == {"step": "7", "line": "1", "session": session.session_id}
        assert first.pod_metadata == pod


async def test_a_worker_may_push_without_registering() -> None:
    async with pushing() as (calls, handler):
        (answer,) = await push(calls, [entry(task_id="")])
        assert answer.status == Taken.ACK
        await until(lambda: handler.received.lines("w-1") == ["line 1"], what="it has come")


async def test_entries_that_cannot_be_taken_are_dropped_each_with_its_reason() -> None:
    async with pushing(lineLimit=1000) as (calls, handler):
        rows = [
            (entry(worker=""), "worker_id is missing"),
            (entry(worker="x" * 1025), "more than 1024 characters"),
            (entry(message="x" * 1001), "at most 1000 are allowed"),
            (entry(message="ü" * 501), "at most 1000 are allowed"),
            (entry(metadata={"key": "x" * 1001}), "at most 1000 are allowed"),
        ]
        answers = await push(calls, [each for each, _ in rows])
        for answer, (_, words) in zip(answers, rows, strict=True):
            assert answer.status == Taken.DROP
            assert words in answer.message
        assert calls.metric("otto_log_lines_total", outcome="dropped_by_size") == 3
        (good,) = await push(calls, [entry()])
        assert good.status == Taken.ACK
        await until(lambda: handler.received.lines("w-1") == ["line 1"], what="a good one has come")


async def test_more_than_the_rate_is_asked_for_again_and_nothing_is_lost() -> None:
    async with pushing(pushRate=5) as (calls, handler):
        answers = await push(calls, [entry(number) for number in range(1, 61)])
        assert [each.status for each in answers[:5]] == [Taken.ACK] * 5
        refused = [each for each in answers if each.status == Taken.RETRY]
        assert refused
        assert refused[0].message == "more than 5 entries a second"
        taken = [f"line {number}" for number, each in enumerate(answers, 1) if each.status == Taken.ACK]
        await until(lambda: handler.received.lines("w-1") == taken, what="what was acknowledged has come")
        (other,) = await push(calls, [entry(worker="w-2")])
        assert other.status == Taken.ACK, "a limit is of one worker"


async def test_a_handler_that_is_away_makes_no_worker_wait() -> None:
    """As long as there is room its lines are taken, then it is asked to keep them."""
    async with pushing(bufferLines=50, pushRate=10_000) as (calls, handler):
        await handler.stop()
        answers = await push(calls, [entry(number) for number in range(1, 101)])
        taken = sum(each.status == Taken.ACK for each in answers)
        assert 50 <= taken <= 51
        assert [each.status for each in answers] == [Taken.ACK] * taken + [Taken.RETRY] * (100 - taken)
        assert answers[-1].message == "the handler is behind"
        await handler.start()
        await until(lambda: len(handler.received.lines("w-1")) == taken, what="what was taken has come")
        assert handler.received.lines("w-1") == [f"line {number}" for number in range(1, taken + 1)]


async def test_without_a_handler_nobody_takes_logs() -> None:
    async with mocked() as (calls, _):
        (answer,) = await push(calls, [entry()])
        assert answer.status == Taken.DROP
        assert "no handler is configured" in answer.message


async def test_at_the_end_streams_are_told_and_what_was_taken_is_delivered() -> None:
    async with Handler() as handler:
        async with mocked(handler={"address": handler.address}) as (calls, _):
            channel = grpc.aio.insecure_channel(calls.address)
            stream: Any = Calls(calls.orchestrator, channel).logs.StreamLogs()
            for number in range(1, 11):
                await stream.write(entry(number))
                assert (await stream.read()).status == Taken.ACK
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the orchestrator is going away: connect again"
        await channel.close()
        assert handler.received.lines("w-1") == [f"line {number}" for number in range(1, 11)]


async def test_many_workers_push_at_once() -> None:
    async with pushing() as (calls, handler):
        names = [f"w-{number}" for number in range(40)]
        await asyncio.gather(
            *(push(calls, [entry(number, worker=name) for number in range(1, 51)]) for name in names)
        )
        lines = [f"line {number}" for number in range(1, 51)]
        await until(
            lambda: all(handler.received.lines(name) == lines for name in names), what="all have come"
        )
