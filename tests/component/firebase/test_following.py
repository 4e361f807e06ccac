"""A queue is followed by its event stream."""

import asyncio
import time

import pytest

from ottoscaler.adapter.reading import Held, Reading
from tests.component.firebase.harness import PATH, queue, reading
from tests.rtdb import Fault, RtdbServer
from tests.rtdb.faults import auth_revoked_frame, cancel_frame
from tests.waiting import until

PENDING = {"createdAt": 1_790_000_000_000, "status": "pending", "inputs": {"text": "x" * 200}}


_HUGE = 'event: put\ndata: {"path":"/a/n","data":1e99999999999999999999}\n\n'


def jobs(count: int) -> dict[str, object]:
    return {f"job-{number}": PENDING for number in range(count)}


async def test_every_change_is_seen_without_asking() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(3))
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(3)
            server.write(f"{PATH}/new", PENDING)
            await heard.waiting(4)
            now = time.time()
            claim = {"assignedPodId": "pod-1", "status": "processing", "lastHeartbeat": now, "claimedAt": now}
            server.update(f"{PATH}/job-0", claim)
            claimed = await heard.waiting(3)
            assert claimed.heartbeats == (now,)
            assert claimed.held == (Held("job-0", "pod-1"),)
            server.write(f"{PATH}/job-0/lastHeartbeat", now + 15)
            await until(lambda: heard.readings[-1].heartbeats == (now + 15,), within=5)
            server.update(PATH, {"job-0": None, "job-1/status": "failed"})
            last = await heard.waiting(2)
            assert (last.failed, last.held) == (1, ())
            server.write("requestedJobs", None)
            await heard.waiting(0)
        assert len(server.log) == 1


async def test_keep_alives_renew_the_reading() -> None:
    async with RtdbServer(keep_alive=0.02) as server:
        server.write(PATH, jobs(2))
        async with reading(queue(server)) as (heard, _):
            first = await heard.waiting(2)
            await until(lambda: len(heard.readings) > 3, within=5)
            times = [each.measured_at for each in heard.readings]
            assert times == sorted(times)
            assert times[0] == first.measured_at
            assert times[-1] <= time.time()
        assert len(server.log) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(what="reset", where="running"), "unreachable"),
        (Fault(what="truncated", where="running"), "unreachable"),
        (Fault(what="end", where="running"), "unreachable"),
        (Fault(what="garbage", where="running"), "invalid"),
        (Fault(what="send", where="running", body=cancel_frame().decode()), "forbidden"),
        (Fault(what="send", where="running", body=auth_revoked_frame().decode()), "unauthorized"),
        (Fault(what="send", where="running", body="event: put\ndata: {}\n\n"), "invalid"),
        (Fault(what="send", where="running", body=_HUGE), "invalid"),
    ],
)
async def test_a_stream_that_breaks_is_opened_anew_with_a_snapshot(fault: Fault, code: str) -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(2))
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(2)
            server.disturb(fault)
            await until(lambda: not server.streams, within=5)
            server.write(PATH, jobs(5))  # nobody is told of this
            assert (await heard.failure()).code == code
            await heard.waiting(5)
        assert {each.waiting for each in heard.readings} == {2, 5}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(what="status", status=401), "unauthorized"),
        (Fault(what="status", status=403), "forbidden"),
        (Fault(what="status", status=503), "unreachable"),
        (Fault(what="reset"), "unreachable"),
        (Fault(what="garbage"), "invalid"),
        (Fault(what="truncated"), "unreachable"),
    ],
)
async def test_a_stream_that_does_not_open_is_tried_again(fault: Fault, code: str) -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(3))
        server.faults.add(fault, fault)
        async with reading(queue(server)) as (heard, _):
            assert (await heard.failure()).code == code
            await heard.waiting(3)
        assert {each.waiting for each in heard.readings} == {3}


async def test_a_redirect_is_followed_with_the_token() -> None:
    async with RtdbServer() as server, RtdbServer() as holder:
        holder.write(PATH, jobs(3))
        location = f"http://{holder.address}/{PATH}.json?ns=demo"
        server.faults.add(Fault(what="redirect", where="stream", location=location))
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(3)
            holder.write(PATH, jobs(4))
            await heard.waiting(4)
        assert holder.log[0].authorization == "Bearer owner"
        assert holder.log[0].accept == "text/event-stream"


async def test_something_that_answers_and_is_no_database() -> None:
    async with RtdbServer() as server:
        server.faults.add(*[Fault(what="status", status=200, body="null", where="stream")] * 5)
        async with reading(queue(server)) as (heard, _):
            assert (await heard.failure()).code == "invalid"
            assert not heard.readings


@pytest.mark.parametrize(
    "second",
    [
        'event: put\ndata: {"path":"/a/inputs/one","data":null}\n\n',  # leaves open whether `a` is there
        "event: put\ndata: nonsense\n\n",
        cancel_frame().decode(),
    ],
)
async def test_a_snapshot_that_comes_together_with_its_end_is_not_served(second: str) -> None:
    first = 'event: put\ndata: {"path":"/","data":{"a":{"inputs":{"one":1}},"b":{"n":1}}}\n\n'
    headers = {"Content-Type": "text/event-stream"}
    async with RtdbServer() as server:
        server.write(PATH, jobs(3))
        server.faults.add(
            Fault(what="status", status=200, headers=headers, body=first + second, where="stream")
        )
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(3)
        assert {each.waiting for each in heard.readings} == {3}
        assert all(each.measured_at > 0 for each in heard.readings)


async def test_a_half_open_connection_is_noticed() -> None:
    async with RtdbServer(keep_alive=0.2) as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server, read_timeout=1.0)) as (heard, _):
            await heard.waiting(1)
            server.disturb(Fault(what="silent", where="running"))
            server.write(PATH, jobs(2))
            assert (await heard.failure()).reason == "its database does not answer in time"
            await heard.waiting(2)


async def test_a_short_interval_notices_a_half_open_connection_sooner() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server, interval=0.1)) as (heard, _):
            await heard.waiting(1)
            server.disturb(Fault(what="silent", where="running"))
            server.write(PATH, jobs(2))
            await heard.waiting(2, within=3)
            server.write(PATH, jobs(3))
            await heard.waiting(3)
        assert {each.reason for each in heard.failures} == {
            "its event stream had missed a change and is opened anew"
        }


async def test_a_stream_that_is_known_to_be_wrong_says_no_more() -> None:
    """Whether or not a new one can be opened."""
    async with RtdbServer(keep_alive=0.3) as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server, interval=0.1)) as (heard, _):
            await heard.waiting(1)
            server.faults.add(*[Fault(what="status", where="stream")] * 1000)
            wrong = 'event: put\ndata: {"path":"/other","data":{"status":"pending"}}\n\n'
            server.disturb(Fault(what="send", where="running", body=wrong))
            assert (await heard.failure()).reason == "its event stream had missed a change and is opened anew"
            said = len(heard.readings)
            await until(lambda: not server.streams, within=5)
            await heard.failure(after=5)
            assert len(heard.readings) == said
            server.faults.clear()
            await heard.waiting(1)


async def test_a_short_interval_renews_the_reading_of_a_silent_stream() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server, interval=0.02)) as (heard, _):
            await until(lambda: len(heard.readings) > 4, within=5)
        assert server.answered[304] > 1
        assert sum("event-stream" in asked.accept for asked in server.log) == 1


async def test_an_event_that_drips_has_a_limit() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(3))
        server.faults.add(Fault(what="drip", where="stream", seconds=0.05))
        async with reading(queue(server, read_timeout=1.0)) as (heard, _):
            failure = await heard.failure()
            assert "too long" in failure.reason
            await heard.waiting(3)


async def test_an_event_that_is_too_large_says_so() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server, max_event_bytes=1024)) as (heard, _):
            await heard.waiting(1)
            server.write(f"{PATH}/big", {"inputs": "x" * 2000})
            failure = await heard.failure()
            assert failure.code == "invalid"
            assert "light node" in failure.reason
            server.write(f"{PATH}/big", None)
            await until(lambda: isinstance(heard.last(), Reading), within=15)


async def test_a_change_that_cannot_be_followed_costs_a_snapshot_and_no_failure() -> None:
    async with RtdbServer() as server:
        server.write(PATH, {"a": {"inputs": {"one": 1, "two": 2}}, "b": {"status": "pending"}})
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(2)
            server.write(f"{PATH}/a/inputs/one", None)
            await until(lambda: len(server.log) == 2, within=5)
            server.write(f"{PATH}/a/inputs/two", None)
            await heard.waiting(1)
        assert not heard.failures


async def test_a_node_that_is_no_queue_is_said_until_it_is_one() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(1))
        async with reading(queue(server)) as (heard, _):
            await heard.waiting(1)
            server.write(PATH, {"version": 5})
            assert "no jobs" in (await heard.failure()).reason
            server.write(f"{PATH}/job", PENDING)
            assert (await heard.waiting(1)).other == 1


async def test_nothing_is_left_over() -> None:
    async with RtdbServer() as server:
        server.write(PATH, jobs(1))
        before = asyncio.all_tasks()
        async with reading(queue(server), queue(server, name="r"), queue(server, name="p", mode="poll")) as (
            heard,
            _,
        ):
            for name in "qrp":
                await heard.waiting(1, name=name)
            assert len(server.streams) == 2
        await until(
            lambda: not server.streams and asyncio.all_tasks() <= before | {asyncio.current_task()}, within=5
        )
