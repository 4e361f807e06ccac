"""What of the protocol `firebase_admin` does not use: streams, compression, tokens, and failures on purpose."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.rtdb import Fault, RtdbServer
from tests.rtdb.access import Tokens
from tests.rtdb.faults import auth_revoked_frame, cancel_frame

STREAM = {"Accept": "text/event-stream"}


@contextlib.asynccontextmanager
async def serving(
    root: Any = None, **options: Any
) -> AsyncIterator[tuple[RtdbServer, aiohttp.ClientSession]]:
    """A server holding `root`, and a session whose base is its address."""
    async with RtdbServer(**options) as server:
        server.write("", root)
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(
            f"http://{server.address}", timeout=timeout, auto_decompress=False
        ) as session:
            yield server, session


async def next_event(response: aiohttp.ClientResponse) -> tuple[str, str]:
    """The next event's name and data, as sent."""
    head, data = (await response.content.readuntil(b"\n\n")).decode().removesuffix("\n\n").split("\n", 1)
    return head.removeprefix("event: "), data.removeprefix("data: ")


async def test_a_stream_begins_with_everything_and_then_says_what_changes() -> None:
    async with (
        serving({"q": {"a": {"n": 1}}}) as (server, session),
        session.get("/q.json", headers=STREAM) as response,
    ):
        assert response.content_type == "text/event-stream"
        assert await next_event(response) == ("put", '{"path":"/","data":{"a":{"n":1}}}')
        server.write("q/a/n", 2)
        assert await next_event(response) == ("put", '{"path":"/a/n","data":2}')
        server.update("", {"q/b": {"n": 3}, "elsewhere": 1})
        assert await next_event(response) == ("put", '{"path":"/b","data":{"n":3}}')
        server.write("elsewhere", 2)
        server.write("", {"q": {"c": {"n": 4}}})
        assert await next_event(response) == ("put", '{"path":"/","data":{"c":{"n":4}}}')


async def test_a_silent_stream_is_kept_alive() -> None:
    async with serving(keep_alive=0.01) as (_, session), session.get("/q.json", headers=STREAM) as response:
        assert await next_event(response) == ("put", '{"path":"/","data":null}')
        assert await next_event(response) == ("keep-alive", "null")


async def test_a_filtered_stream_shows_its_window() -> None:
    async with serving({"q": {"a": {"s": "w"}, "b": {"s": "p"}}}) as (server, session):
        server.database().rules = {"rules": {".read": True, "q": {".indexOn": "s"}}}
        query = {"orderBy": '"s"', "equalTo": '"w"'}
        async with session.get("/q.json", params=query, headers=STREAM) as response:
            assert await next_event(response) == ("put", '{"path":"/","data":{"a":{"s":"w"}}}')
            server.write("q/b/s", "w")
            assert await next_event(response) == ("put", '{"path":"/b","data":{"s":"w"}}')
            server.write("q/a/s", "p")
            assert await next_event(response) == ("put", '{"path":"/a","data":null}')


async def test_running_streams_can_be_cancelled_revoked_and_ended() -> None:
    async with serving() as (server, session), session.get("/q.json", headers=STREAM) as response:
        await next_event(response)
        for frame in (cancel_frame(), auth_revoked_frame()):
            server.disturb(Fault(what="send", where="running", body=frame.decode()))
        assert await next_event(response) == ("cancel", "null")
        assert await next_event(response) == ("auth_revoked", "credential is no longer valid")
        server.disturb(Fault(what="end", where="running"))
        assert await response.content.read() == b""


async def test_large_answers_are_compressed_for_those_who_ask() -> None:
    async with serving({"text": "x" * 5000}) as (_, session):
        async with session.get("/.json", headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert json.loads(gzip.decompress(await response.read())) == {"text": "x" * 5000}
        async with session.get("/.json", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers


async def test_answers_can_be_pretty_or_silent() -> None:
    async with serving({"a": 1}) as (_, session):
        async with session.get("/.json?print=pretty") as response:
            assert await response.text() == '{\n  "a": 1\n}'
        async with session.put("/b.json?print=silent", json=2) as response:
            assert (response.status, await response.read()) == (204, b"")


async def test_tokens_are_checked_and_end() -> None:
    now = 1000.0
    tokens = Tokens(required=True, clock=lambda: now)
    tokens.issue("good", seconds=10)
    async with serving({"a": 1}, tokens=tokens) as (_, session):

        async def status(**headers: str) -> int:
            async with session.get("/a.json", headers=headers) as response:
                return response.status

        assert await status(Authorization="Bearer good") == 200
        assert await status() == 401
        assert await status(Authorization="Bearer owner") == 401
        now = 1010.0
        assert await status(Authorization="Bearer good") == 401


async def test_constant_rules_hold_for_strangers_and_not_for_the_owner() -> None:
    async with serving({"open": 1, "shut": 2}) as (_, session):
        rules = {"rules": {"open": {".read": True}}}
        async with session.put("/.settings/rules.json?access_token=owner", json=rules) as response:
            assert response.status == 200
        for path, headers, status in (
            ("/open.json", {}, 200),
            ("/shut.json", {}, 401),
            ("/shut.json", {"Authorization": "Bearer owner"}, 200),
        ):
            async with session.get(path, headers=headers) as response:
                assert response.status == status, path


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limitToFirst=2", "orderBy must be defined"),
        ('orderBy="a"&shallow=true', "Mixing 'shallow'"),
        ("orderBy=a", "valid JSON encoded path"),
        ('orderBy="$key"&limitToFirst=x', "must be an integer"),
        ('orderBy="$key"&equalTo={}', "must be a JSON primitive"),
        ('orderBy="$key"&startAt=5', "must be string"),
        ('orderBy="status"', "Index not defined"),
    ],
)
async def test_bad_queries_are_refused(query: str, message: str) -> None:
    async with serving({"a": {"b": 1}}) as (_, session), session.get(f"/.json?{query}") as response:
        assert response.status == 400
        assert message in (await response.json())["error"]


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ('startAt=1,"b"', ["b", "c"]),
        ('startAfter=1,"[MAX_NAME]"', ["c"]),
        ('startAfter=1,"[MIN_NAME]"', ["a", "b", "c"]),
        ('endBefore=1,"b"', ["a"]),
        ('equalTo=1,"b"', ["b"]),
    ],
)
async def test_a_bound_may_name_a_key_as_the_javascript_client_does(query: str, keys: list[str]) -> None:
    async with serving({"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 2}}) as (server, session):
        server.database().rules = {"rules": {".read": True, ".indexOn": "n"}}
        async with session.get(f'/.json?orderBy="n"&{query}&format=export') as response:
            assert list(await response.json()) == keys


async def test_errors_of_the_request_are_answered() -> None:
    async with serving() as (server, session):
        async with session.put("/a.json", data="{not json") as response:
            assert response.status == 400
        async with session.get("/a") as response:
            assert response.status == 404
        server.database().locked = True
        async with session.put("/a.json", json=1) as response:
            assert response.status == 423


@pytest.mark.parametrize("what", ["reset", "truncated"])
async def test_a_connection_can_break_in_an_answer(what: Any) -> None:
    async with serving({"a": "x" * 100}) as (server, session):
        fault = Fault(what=what, where="read")
        server.faults.add(*([fault, fault] if what == "reset" else [fault]))  # aiohttp asks once more
        with pytest.raises(aiohttp.ClientError):
            async with session.get("/a.json") as response:
                await response.read()
        async with session.get("/a.json") as response:
            assert await response.json() == "x" * 100


async def test_an_answer_can_fail_redirect_drip_or_never_come() -> None:
    async with serving({"a": 1, "b": "b" * 20}) as (server, session):
        server.faults.add(Fault(what="status", status=429, where="read"))
        async with session.get("/a.json") as response:
            assert response.status == 429
        server.faults.add(Fault(what="redirect", location=f"http://{server.address}/b.json"))
        async with session.get("/a.json") as response:
            assert await response.json() == "b" * 20
        server.faults.add(Fault(what="drip", seconds=0.001))
        async with session.get("/b.json") as response:
            assert await response.json() == "b" * 20
        server.faults.add(Fault(what="silent"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), session.get("/a.json"):
                pass


async def test_an_answer_without_a_body_is_not_cut_and_the_next_one_is() -> None:
    async with serving({"a": None}) as (server, session):
        server.faults.add(Fault(what="truncated", where="read"))
        async with session.get("/a.json") as response:
            assert await response.json() is None
        server.write("a", "x" * 100)
        with pytest.raises(aiohttp.ClientError):
            async with session.get("/a.json") as response:
                await response.read()


async def test_faults_can_be_ordered_over_the_network() -> None:
    async with serving({"a": 1}) as (_, session):
        async with session.post(
            "/.control/faults", json=[{"what": "status", "status": 503, "path": "a"}]
        ) as response:
            assert response.status == 200
        async with session.get("/b.json") as response:
            assert response.status == 200
        async with session.get("/a.json") as response:
            assert response.status == 503


async def test_it_comes_back_on_the_same_port_with_its_data(tmp_path: Path) -> None:
    async with serving({"a": 1}) as (server, session):
        await server.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("/a.json")
        await server.start()
        async with session.get("/a.json") as response:
            assert await response.json() == 1
    file = tmp_path / "data.json"
    async with serving(data=file) as (_, session), session.put("/a/b.json?ns=x", json=5):
        pass
    async with serving(data=file) as (_, session), session.get("/a/b.json?ns=x") as response:
        assert await response.json() == 5
