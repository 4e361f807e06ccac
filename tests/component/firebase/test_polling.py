"""A queue is read by asking for its node."""

from typing import Any

import pytest

from ottoscaler.adapter.reading import Reading
from ottoscaler.adapter.sources.base import SourceContext, SourceError
from ottoscaler.adapter.sources.firebase_rtdb import BACKEND
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from tests.component.firebase.harness import PATH, Heard, queue, reading
from tests.rtdb import Fault, RtdbServer
from tests.waiting import until

JOBS = {
    f"job-{number}": {"createdAt": 1_790_000_000_000 + number, "inputs": "x" * 1000} for number in range(5)
}


async def test_jobs_are_counted_and_an_unchanged_node_is_not_sent_again() -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS)
        async with reading(queue(server, mode="poll", interval=0.01)) as (heard, _):
            first = await heard.waiting(5)
            assert first.oldest_waiting_at == 1_790_000_000.0
            await until(lambda: len(heard.readings) > 3)
            server.write(f"{PATH}/job-0", None)
            assert (await heard.waiting(4)).oldest_waiting_at == 1_790_000_000.001
        assert {asked.authorization for asked in server.log} == {"Bearer owner"}
        assert server.answered[304] > 1


async def test_an_empty_node_holds_no_jobs() -> None:
    async with RtdbServer() as server, reading(queue(server, mode="poll", interval=0.01)) as (heard, _):
        assert (await heard.waiting(0)).oldest_waiting_at is None
        server.write(PATH, JOBS)
        await heard.waiting(5)
        server.write(PATH, None)
        await heard.waiting(0)


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault(what="status", status=401), "unauthorized", "refused the credential"),
        (Fault(what="status", status=401, body='{"error":"Permission denied"}'), "forbidden", "rules"),
        (Fault(what="status", status=403), "forbidden", "may not read"),
        (Fault(what="status", status=404), "missing", "no such database"),
        (Fault(what="status", status=423), "forbidden", "locked"),
        (Fault(what="status", status=429), "limited", "limits reads"),
        (Fault(what="status", status=500, body="<html>"), "unreachable", "not available"),
        (Fault(what="status", status=503), "unreachable", "not available"),
        (Fault(what="status", status=418), "error", "answered 418"),
        (Fault(what="status", status=200, body=""), "invalid", "makes no sense"),
        (Fault(what="status", status=200, body='{"error":"login"}'), "invalid", "no jobs"),
        (Fault(what="status", status=200, body="5"), "invalid", "no jobs"),
        (Fault(what="status", status=304, body=""), "invalid", "makes no sense"),
        (Fault(what="garbage"), "invalid", "makes no sense"),
        (Fault(what="truncated"), "unreachable", "broke the connection"),
        (Fault(what="reset"), "unreachable", "broke the connection"),
        (Fault(what="silent"), "unreachable", "in time"),
        (Fault(what="drip"), "unreachable", "in time"),
        (
            Fault(what="redirect", location="http://elsewhere.example/x.json"),
            "invalid",
            "must not be sent to",
        ),
        (
            Fault(what="redirect", location="https://elsewhere.example/x.json"),
            "invalid",
            "must not be sent to",
        ),
        (Fault(what="redirect", location="/requestedJobs/q.json"), "invalid", "redirects for ever"),
    ],
)
async def test_a_failure_is_a_failure_in_words_and_never_a_number(
    fault: Fault, code: str, words: str
) -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS)
        server.faults.add(*[fault] * 12)
        async with reading(queue(server, mode="poll", interval=0.01, timeout=0.3)) as (heard, _):
            failure = await heard.failure()
            assert not heard.readings
            assert failure.code == code
            assert words in failure.reason
            assert "127.0.0.1" not in failure.reason
            server.faults.clear()
            await heard.waiting(5)
        assert {each.waiting for each in heard.readings} == {5}


async def test_redirects_inside_the_same_house_keep_the_token() -> None:
    async with RtdbServer() as server, RtdbServer() as other:
        other.write(PATH, JOBS)
        server.faults.add(Fault(what="redirect", location=f"http://{other.address}/{PATH}.json?ns=demo"))
        async with reading(queue(server, mode="poll")) as (heard, _):
            await heard.waiting(5)
        assert other.log[0].authorization == "Bearer owner"


async def test_a_node_that_is_too_large_says_so() -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS)
        async with reading(queue(server, mode="poll", interval=0.01, max_event_bytes=1024)) as (heard, _):
            failure = await heard.failure()
            assert failure.code == "invalid"
            assert "light node" in failure.reason
            server.write(PATH, {"a": {"status": "pending"}})
            await heard.waiting(1)


async def test_a_server_that_goes_and_comes_back() -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS)
        async with reading(queue(server, mode="poll", interval=0.01)) as (heard, _):
            await heard.waiting(5)
            await server.stop()
            assert (await heard.failure()).code == "unreachable"
            server.write(PATH, None)
            await server.start()
            await heard.waiting(0)


@pytest.mark.parametrize("mode", ["poll", "stream"])
async def test_the_emulator_variable_leads_to_the_emulator(mode: Any) -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS, namespace="mine")
        there = queue(server, mode=mode)
        there = type(there)(
            name="q",
            settings=type(there.settings)(database_url="https://mine.firebaseio.com", path=PATH, mode=mode),
            interval=1.0,
            timeout=5.0,
            stalled_after=None,
        )
        environ = {"FIREBASE_DATABASE_EMULATOR_HOST": server.address}
        async with reading(there, environ=environ) as (heard, _):
            await heard.waiting(5)


async def test_a_reading_is_dated_by_the_beginning_of_its_request() -> None:
    async with RtdbServer() as server:
        server.write(PATH, JOBS)
        server.faults.add(Fault(what="delay", seconds=0.05, where="read"))
        async with reading(queue(server, mode="poll")) as (heard, _):
            first = await heard.waiting(5)
            assert isinstance(heard.last(), Reading)
            assert first.took is not None
            assert first.took >= 0.05


async def test_queues_come_and_go_while_others_are_read() -> None:
    async with RtdbServer() as server:
        server.write("requestedJobs", {"q": JOBS, "r": {"a": {"n": 1}}})
        one = queue(server, interval=0.05)
        two = queue(server, name="r", path="requestedJobs/r", mode="poll", interval=0.01)
        async with reading(one) as (heard, source):
            await heard.waiting(5)
            source.set_queues([one, two])
            await heard.waiting(1, name="r")
            source.set_queues([one])
            heard.news.clear()
            server.write("requestedJobs", {"q": {"a": {"n": 1}}, "r": None})
            await heard.waiting(1)
            assert not [each for each in heard.news if each.queue == "r"]
        assert sum("event-stream" in asked.accept for asked in server.log) == 1, "the connection stayed"


async def test_a_wrong_emulator_variable_is_said() -> None:
    async with RtdbServer() as server:
        other = queue(server)
        settings = type(other.settings)(database_url="https://mine.firebaseio.com")
        other = type(other)(name="q", settings=settings, interval=1.0, timeout=1.0, stalled_after=None)
        environ = {"FIREBASE_DATABASE_EMULATOR_HOST": "http://localhost:9000"}
        source = BACKEND.source(settings, SourceContext(clock=SYSTEM_CLOCK, environ=environ))
        source.set_queues([other])
        with pytest.raises(SourceError, match="FIREBASE_DATABASE_EMULATOR_HOST must be HOST:PORT"):
            await source.run(Heard())
