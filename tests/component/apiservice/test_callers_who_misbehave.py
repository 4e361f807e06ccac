"""Slow, greedy and broken clients harm nobody but themselves.

Contract: external-metrics-api.md, "Answers" (4 MiB of headers is a 431, 64 KiB is fine; plain HTTP on the
TLS port gets a 400 in plain text; TLS below 1.2 an alert). Limits are short here so that time passes fast.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from ottoscaler.apiservice import endpoints
from ottoscaler.apiservice.limits import Limits
from ottoscaler.apiservice.selector import Selector
from ottoscaler.apiservice.selector_grammar import parse_selector
from tests.component.apiservice.authorities import client_context
from tests.component.apiservice.serving import CALLERS, GROUP_VERSION, Client, Serving, serving
from tests.waiting import until

_SHORT = Limits(
    handshake_seconds=0.2,
    head_seconds=0.2,
    idle_seconds=0.2,
    write_seconds=0.2,
    linger_seconds=0.2,
    answer_seconds=0.2,
)
_DEMAND = f"{GROUP_VERSION}/namespaces/default/queue_demand"
_HOST = "Host: adapter\r\n"


@asynccontextmanager
async def _raw(running: Serving) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _still_serves(running: Serving) -> None:
    answer = await (await running.client()).ask(_DEMAND)
    assert answer.status == 200


async def _flood(client: Client, start: bytes, filler: bytes, total: int) -> bytes:
    """Writes as much as the server takes and returns what it said."""
    client.writer.write(start)

    async def fill() -> None:
        try:
            for _ in range(total // len(filler)):
                client.writer.write(filler)
                await client.writer.drain()
        except ConnectionError:
            pass  # the server has heard enough

    filling = asyncio.create_task(fill())
    try:
        return await client.rest()
    except ConnectionError:
        return b""
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)


async def test_64_kib_of_headers_are_fine() -> None:
    async with serving() as running:
        client = await running.client()
        answer = await client.ask(_DEMAND, "GET", *((f"X-{number}", "v" * 1000) for number in range(64)))
        assert answer.status == 200
        answer = await client.ask(_DEMAND, "GET", ("X-Long", "v" * 64 * 1024))
        assert answer.status == 200


async def test_a_user_may_be_in_a_thousand_groups() -> None:
    async with serving() as running:
        client = await running.client()
        answer = await client.ask(_DEMAND, "GET", *(("X-Remote-Group", f"group-{n}") for n in range(1000)))
        assert answer.status == 200


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (f"GET {_DEMAND} HTTP/1.1\r\n{_HOST}X: ".encode(), b"v" * 4096),
        (f"GET {_DEMAND} HTTP/1.1\r\n{_HOST}".encode(), b"X: " + b"v" * 1000 + b"\r\n"),
        (f"GET {_DEMAND} HTTP/1.1\r\n{_HOST}".encode(), b"X: \r\n" * 100),
        (b"GET /", b"a" * 4096),
    ],
    ids=["one field", "many fields", "many empty fields", "request line"],
)
async def test_4_mib_of_headers_are_a_431(start: bytes, filler: bytes) -> None:
    async with serving() as running:
        said = await _flood(await running.client(), start, filler, 4 * 2**20)
        assert said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert b"Connection: close" in said
        await _still_serves(running)


@pytest.mark.parametrize(("caller", "status"), [("nobody", 401), ("mallory", 403), ("hpa", 400)])
@pytest.mark.parametrize("query", ["&x" * 30_000, f"labelSelector={'!' * 60_000}"], ids=["many", "long"])
async def test_a_greedy_query_is_refused_as_late_as_any(caller: str, status: int, query: str) -> None:
    async with serving() as running:
        answer = await (await running.client(caller)).ask(f"{_DEMAND}?{query}")
        assert answer.status == status


async def test_a_selector_is_read_for_those_who_may_ask_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def reading(text: str) -> Selector:
        read.append(text)
        return parse_selector(text)

    monkeypatch.setattr(endpoints, "parse_selector", reading)
    async with serving() as running:
        for caller in ("nobody", "bad-token", "forged", "mallory"):
            client = await running.client(caller)
            for _ in range(2):
                assert (await client.ask(f"{_DEMAND}?labelSelector=queue%3Da")).status in (401, 403)
        assert read == []
        client = await running.client("hpa")
        for _ in range(3):
            assert (await client.ask(f"{_DEMAND}?labelSelector=queue%3Da")).status == 200
        assert read == ["queue=a"]


async def test_a_head_that_trickles_in_is_cut_off_and_others_are_served_meanwhile() -> None:
    async with serving(limits=_SHORT) as running:
        slow = await running.client()

        async def trickle() -> None:
            for byte in f"GET {_DEMAND} HTTP/1.1\r\nX: {'v' * 10_000}".encode():
                slow.writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        await _still_serves(running)
        assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)


@pytest.mark.parametrize(
    "begins", [b"", b"\x16", b"\x16\x03\x01\x02\x00"], ids=["nothing", "a byte", "a record's head"]
)
async def test_a_handshake_that_does_not_happen_is_given_up(begins: bytes) -> None:
    async with serving(limits=_SHORT) as running, _raw(running) as (reader, writer):
        writer.write(begins)
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(limits=_SHORT) as running:
        client = await running.client()
        assert (await client.ask(_DEMAND)).status == 200
        assert await client.ended()


async def test_a_connection_that_never_asks_is_closed() -> None:
    async with serving(limits=_SHORT) as running:
        assert await (await running.client()).ended()


async def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    async with serving(limits=_SHORT) as running:
        client = await running.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            client.send(
                f"{GROUP_VERSION}/namespaces/default/queue_deep", "GET", ("Accept", "application/json")
            )
        await until(lambda: running.server.connections == 0, what="it is cut off")
        await _still_serves(running)


async def test_when_connections_run_out_the_one_that_idles_longest_goes() -> None:
    async with serving(limits=Limits(connections=3)) as running:
        clients = [await running.client() for _ in range(3)]
        for client in clients:
            assert (await client.ask(_DEMAND)).status == 200
        assert (await clients[0].ask(_DEMAND)).status == 200
        newcomer = await running.client()
        assert (await newcomer.ask(_DEMAND)).status == 200
        assert await clients[1].ended()
        assert (await clients[0].ask(_DEMAND)).status == 200
        assert running.server.connections == 3


async def test_a_burst_of_newcomers_does_not_get_past_the_limit() -> None:
    async with serving(limits=Limits(connections=5)) as running:
        await asyncio.gather(*(running.client("nobody") for _ in range(30)), return_exceptions=True)
        await until(lambda: running.server.connections <= 5, what="the limit holds")
        await _still_serves(running)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "DELETE"])
async def test_plain_http_on_the_tls_port_is_told_so(method: str) -> None:
    async with serving() as running, _raw(running) as (reader, writer):
        writer.write(f"{method} {_DEMAND} HTTP/1.1\r\n{_HOST}\r\n".encode())
        said = await reader.read()
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Content-Type: text/plain" in head
        assert body == b"Client sent an HTTP request to an HTTPS server.\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_tls_gets_an_alert(version: ssl.TLSVersion) -> None:
    async with serving() as running:
        context = client_context(CALLERS["hpa"].certificate)
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
            await asyncio.open_connection("127.0.0.1", running.server.port, ssl=context)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\n",
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(range(256)) * 8,
    ],
)
async def test_garbage_is_answered_as_the_callers_fault(garbage: bytes) -> None:
    async with serving(limits=_SHORT) as running:
        client = await running.client()
        client.writer.write(garbage)
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 4") or said == b""
        await _still_serves(running)


async def test_garbage_instead_of_a_tls_record_ends_the_connection() -> None:
    async with serving(limits=_SHORT) as running, _raw(running) as (reader, writer):
        writer.write(b"\x16\x03\x01\x00\x05hello" * 20)
        said = await reader.read()
        assert said[:1] in (b"", b"\x15"), "an alert or nothing"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((("Content-Length", "5"),), b"hello"),
        ((("Content-Length", "5000000"),), b"x" * 100_000),
        ((("Transfer-Encoding", "chunked"),), b"5\r\nhello\r\n0\r\n\r\n"),
        ((("Content-Length", "5"), ("Expect", "100-continue")), b""),
        ((("Content-Length", "9"), ("Content-Encoding", "gzip")), b"not gzip!"),
    ],
)
async def test_a_body_is_not_read_and_ends_the_connection_after_the_answer(
    headers: tuple[tuple[str, str], ...], body: bytes
) -> None:
    async with serving() as running:
        client = await running.client()
        client.send(_DEMAND, "GET", *headers)
        client.writer.write(body)
        answer = await client.answer()
        assert answer.status == 200
        assert answer.headers["Connection"] == "close"
        assert await client.ended()


async def test_what_follows_a_body_is_no_request() -> None:
    async with serving() as running:
        client = await running.client()
        client.send(_DEMAND, "POST", ("Content-Length", "0"))
        client.send(_DEMAND, "POST", ("Content-Length", "5"))
        client.writer.write(b"hello")
        client.send(_DEMAND, "GET")
        assert (await client.answer()).status == 403
        assert (await client.answer()).headers["Connection"] == "close"
        assert await client.ended()


async def test_an_upgrade_is_not_taken_up() -> None:
    async with serving() as running:
        client = await running.client()
        answer = await client.ask(
            _DEMAND, "GET", ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "x")
        )
        assert answer.status == 200
        assert answer.headers["Connection"] == "close"


async def test_a_reviewer_that_hangs_costs_one_request_its_time_and_is_a_504() -> None:
    class Hanging:
        def cached(self, _user: Any, _attributes: Any) -> None:
            return None

        async def authorize(self, _user: Any, _attributes: Any) -> Any:
            await asyncio.Event().wait()

    async with serving(limits=_SHORT, authorizer=Hanging()) as running:
        answer = await (await running.client()).ask(_DEMAND)
        assert answer.status == 504
        assert b'"reason":"Timeout"' in answer.body


async def test_a_caller_who_hangs_up_takes_the_review_along() -> None:
    cancelled = asyncio.Event()
    asked = asyncio.Event()

    class Hanging:
        def cached(self, _user: Any, _attributes: Any) -> None:
            return None

        async def authorize(self, _user: Any, _attributes: Any) -> Any:
            asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    async with serving(authorizer=Hanging()) as running:
        client = await running.client()
        client.send(_DEMAND)
        await asked.wait()
        client.close()
        async with asyncio.timeout(5):
            await cancelled.wait()
