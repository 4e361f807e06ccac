"""Keep-alive, pipelining, compression, and how a server leaves.

Contract: issue 3, "graceful shutdown (stops being ready, finishes requests, leaves within 5 s)".
"""

import asyncio
import gc
import gzip
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ottoscaler.apiservice.channels import TlsChannel
from ottoscaler.apiservice.http_connection import HttpConnection
from ottoscaler.apiservice.identity import Attributes, AuthorizerUnavailable, Decision, User
from ottoscaler.apiservice.request_metrics import RequestMetrics
from tests.component.apiservice.serving import AS_ADMIN, GROUP_VERSION, serving
from tests.waiting import until

_DEMAND = f"{GROUP_VERSION}/namespaces/default/queue_demand"
_DEEP = f"{GROUP_VERSION}/namespaces/default/queue_deep"


class Gate:
    """An authorizer that waits until it is opened."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    def cached(self, _user: User, attributes: Attributes) -> Decision | None:
        return Decision(allowed=True) if attributes.resource is None else None

    async def authorize(self, _user: User, _attributes: Attributes) -> Decision:
        self.asked.set()
        await self.open.wait()
        return Decision(allowed=True)


async def test_a_connection_serves_many_requests() -> None:
    async with serving() as running:
        client = await running.client()
        bodies = {(await client.ask(_DEMAND)).body for _ in range(50)}
        assert len(bodies) == 1
        assert running.roles.asked == 1


@pytest.mark.parametrize("count", [2, 15, 16, 17, 200])
async def test_pipelined_requests_are_answered_in_order(count: int) -> None:
    async with serving() as running:
        client = await running.client("aggregator")
        for number in range(count):
            client.send(f"{GROUP_VERSION}/namespaces/default/metric-{number}")
        for number in range(count):
            answer = await client.answer()
            assert f'\\"metric-{number}\\"'.encode() in answer.body
        assert (await client.ask(_DEMAND)).status == 200


async def test_a_request_that_waits_is_not_overtaken() -> None:
    gate = Gate()
    async with serving(authorizer=gate) as running:
        client = await running.client()
        client.send(_DEMAND)
        for _ in range(40):
            client.send("/version")
        await gate.asked.wait()
        other = await running.client()
        assert (await other.ask("/version")).status == 200, "nobody else waits"
        gate.open.set()
        assert b"ExternalMetricValueList" in (await client.answer()).body
        for _ in range(40):
            assert b"gitVersion" in (await client.answer()).body


async def test_a_complaint_comes_after_the_answers_that_are_due() -> None:
    gate = Gate()
    async with serving(authorizer=gate) as running:
        client = await running.client()
        client.send(_DEMAND)
        client.send("/version")
        await client.writer.drain()
        await gate.asked.wait()
        client.writer.write(b"nonsense\r\n\r\n")
        gate.open.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.ended()


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serving() as running:
        client = await running.client()
        for byte in f"GET {_DEMAND} HTTP/1.1\r\nHost: a\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n\r\n".encode():
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer()).status == 200


async def test_connection_close_is_obeyed() -> None:
    async with serving() as running:
        client = await running.client()
        answer = await client.ask(_DEMAND, "GET", ("Connection", "close"))
        assert answer.headers["Connection"] == "close"
        assert await client.ended()


@pytest.mark.parametrize("caller", ["hpa", "nobody"])
async def test_a_closed_connection_leaves_nothing_to_the_garbage_collector(caller: str) -> None:
    async with serving() as running:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                client = await running.client(caller)
                await client.ask(_DEMAND)
                await client.ask(_DEMAND, "GET", ("Connection", "close"))
                client.close()
            await until(lambda: running.server.connections == 0, what="every connection is closed")
            left = [thing for thing in gc.get_objects() if isinstance(thing, TlsChannel | HttpConnection)]
            assert left == []
        finally:
            gc.enable()


async def test_http_1_0_gets_one_answer() -> None:
    async with serving() as running:
        client = await running.client()
        assert (await client.ask(_DEMAND, version="HTTP/1.0")).status == 200
        assert await client.ended()


async def test_large_answers_are_compressed_for_those_who_take_gzip() -> None:
    async with serving() as running:
        client = await running.client()
        plain = await client.ask(_DEEP)
        packed = await client.ask(_DEEP, "GET", ("Accept-Encoding", "gzip"))
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.body) < len(plain.body) / 5
        assert gzip.decompress(packed.body) == plain.body
        declined = await client.ask(_DEEP, "GET", ("Accept-Encoding", "gzip;q=0, br"))
        assert declined.body == plain.body
        small = await client.ask(_DEMAND, "GET", ("Accept-Encoding", "gzip"))
        assert "Content-Encoding" not in small.headers


async def test_leaving_is_unready_first_then_finishes_what_was_begun() -> None:
    gate = Gate()
    async with serving(authorizer=gate, leave_seconds=5.0) as running:
        idle = await running.client()
        assert (await idle.ask("/readyz")).status == 200
        busy = await running.client()
        busy.send(_DEMAND)
        await gate.asked.wait()

        running.server.begin_to_leave()
        probe = await running.client("nobody")
        answer = await probe.ask("/readyz")
        assert answer.status == 503
        assert b"[-]leaving failed: the server is shutting down" in answer.body
        assert answer.headers["Connection"] == "close"
        assert (await (await running.client("nobody")).ask("/livez")).status == 200
        assert (await (await running.client()).ask("/version")).status == 200, "still answers"
        asyncio.get_running_loop().call_later(0.05, gate.open.set)
        leaving = asyncio.create_task(_answer_of(busy))
    assert await leaving == 200
    assert await idle.ended()


async def _answer_of(client: Any) -> int:
    return int((await client.answer()).status)


async def test_a_request_that_never_ends_does_not_keep_the_server() -> None:
    loop = asyncio.get_running_loop()
    gate = Gate()
    async with serving(authorizer=gate, leave_seconds=0.1) as running:
        client = await running.client()
        client.send(_DEMAND)
        await gate.asked.wait()
        started = loop.time()
    assert loop.time() - started < 5
    assert running.server.connections == 0


async def test_a_server_that_left_frees_its_port() -> None:
    async with serving() as running:
        port = running.server.port
    async with serving(port=port) as again:
        assert again.server.port == port


@pytest.mark.parametrize("path", ["/readyz", "/livez"])
async def test_checks_decide_over_health_and_say_why(path: str) -> None:
    problem: list[str | None] = ["no certificate yet"]
    checks = {"certificate": lambda: problem[0]}
    async with serving(readiness=checks, liveness=checks) as running:
        client = await running.client("nobody")
        answer = await client.ask(path)
        assert answer.status == 503
        assert b"[-]certificate failed: no certificate yet\n" in answer.body
        problem[0] = None
        assert (await client.ask(path)).body == b"ok"
        assert b"[+]certificate ok\n" in (await client.ask(f"{path}?verbose")).body


async def test_a_reviewer_who_cannot_be_reached_is_a_503_and_never_a_yes() -> None:
    class Unreachable:
        def cached(self, _user: User, _attributes: Attributes) -> Decision | None:
            return None

        async def authorize(self, _user: User, _attributes: Attributes) -> Decision:
            raise AuthorizerUnavailable("https://10.96.0.1: connection refused")

    async with serving(authorizer=Unreachable()) as running:
        answer = await (await running.client()).ask(_DEMAND)
        assert answer.status == 503
        assert b"SubjectAccessReview" in answer.body
        assert b"10.96.0.1" not in answer.body


async def test_plain_http_serves_a_machine_without_a_cluster_by_the_same_code() -> None:
    async with serving(tls=None) as running:
        client = await running.client("token", tls=False)
        assert (await client.ask(_DEMAND)).status == 200
        assert (await client.ask(_DEMAND, "GET", ("Connection", "close"))).status == 200
        assert await client.ended()
        stranger = await running.client("nobody", tls=False)
        assert (await stranger.ask(_DEMAND)).status == 401


async def test_metrics_count_requests_callers_and_connections() -> None:
    registry = CollectorRegistry()
    async with serving(metrics=RequestMetrics(registry)) as running:
        client = await running.client()
        for _ in range(3):
            await client.ask(_DEMAND)
        await client.ask(GROUP_VERSION)
        await (await running.client("nobody")).ask(_DEMAND, "GET", *AS_ADMIN)
        text = generate_latest(registry).decode()
    assert 'requests_total{code="200",endpoint="metric",verb="list"} 3.0' in text
    assert 'requests_total{code="200",endpoint="discovery",verb="get"} 1.0' in text
    assert 'requests_total{code="401",endpoint="metric",verb="list"} 1.0' in text
    assert "ottoscaler_apiservice_request_seconds_count 5.0" in text
    assert 'authentications_total{method="front-proxy",result="known"}' in text
    assert 'authentications_total{method="none",result="refused"} 1.0' in text
    assert "ottoscaler_apiservice_connections 2.0" in text
