"""A service account's token: granted once, shared, renewed before it ends, asked for anew when refused."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firebase_follow import FollowedQueue
from ottoscaler.adapter.sources.firebase_poll import NodePoll
from ottoscaler.adapter.sources.firebase_queue import Voice
from ottoscaler.adapter.sources.firebase_rest import RestDatabase
from ottoscaler.adapter.sources.firebase_settings import Endpoint
from ottoscaler.adapter.sources.firebase_token import SCOPES, Fetched, GoogleToken
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from ottoscaler.runtime.tasks import Backoff
from tests.component.firebase.harness import PATH, Heard, queue
from tests.rtdb import Fault, RtdbServer
from tests.rtdb.access import Tokens
from tests.rtdb.faults import auth_revoked_frame
from tests.rtdb.google import TokenEndpoint, token_endpoint
from tests.waiting import until


@contextlib.asynccontextmanager
async def guarded(
    tmp_path: Path, *, lifetime: float = 3600.0
) -> AsyncIterator[tuple[RtdbServer, TokenEndpoint, RestDatabase, GoogleToken]]:
    """A database that wants a token, and a client with a service account."""
    tokens = Tokens(required=True)
    async with (
        RtdbServer(tokens=tokens) as server,
        token_endpoint(tokens, lifetime=lifetime) as google,
        aiohttp.ClientSession() as session,
    ):
        server.write(PATH, {"a": {"status": "pending"}})
        endpoint = Endpoint(base=URL(f"http://{server.address}/"), namespace="demo", is_emulator=False)
        account = GoogleToken.of(google.write_key(tmp_path / "key.json"), SYSTEM_CLOCK)
        yield server, google, RestDatabase(session, endpoint, account), account


@contextlib.asynccontextmanager
async def following(server: RtdbServer, database: RestDatabase) -> AsyncIterator[Heard]:
    """A followed queue of the database."""
    heard = Heard()
    voice = Voice(heard, SYSTEM_CLOCK, Backoff(initial=0.02, maximum=0.1))
    task = asyncio.create_task(FollowedQueue(database, queue(server), voice).run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_grant_serves_all_queues_of_a_database(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, google, database, _):
        nodes = [NodePoll(database, SYSTEM_CLOCK) for _ in range(5)]
        readings = await asyncio.gather(*(node.measure(queue(server)) for node in nodes))
        assert [reading.waiting for reading in readings] == [1] * 5
        assert len(google.grants) == 1
        assert set(google.grants[0]["scope"].split()) == set(SCOPES)


async def test_a_refused_token_is_renewed_once_and_then_reported(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, google, database, account):
        node = NodePoll(database, SYSTEM_CLOCK)
        await node.measure(queue(server))
        server.tokens.revoke((await account.get()).value)
        assert (await node.measure(queue(server))).waiting == 1
        assert len(google.grants) == 2
        server.faults.add(*[Fault(what="status", status=401)] * 2)
        with pytest.raises(SourceError, match="refused the credential") as raised:
            await node.measure(queue(server))
        assert raised.value.code == "unauthorized"
        assert len(google.grants) == 3


async def test_a_refused_token_is_counted_although_no_reading_fails(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, _, database, account):
        refused: list[tuple[str, ...]] = []
        database.on_refused_token = refused.append
        node = NodePoll(database, SYSTEM_CLOCK)
        await node.measure(queue(server))
        assert refused == []
        server.tokens.revoke((await account.get()).value)
        await node.measure(queue(server))
        assert refused == [tuple(PATH.split("/"))]


async def test_who_gives_up_waiting_for_a_token_does_not_end_the_wait_of_others() -> None:
    begun, answered = 0, threading.Event()

    def fetch() -> Fetched:
        nonlocal begun
        begun += 1
        assert answered.wait(10)
        return Fetched("good", 3600.0)

    account = GoogleToken(fetch, SYSTEM_CLOCK)
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await account.get()
    answered.set()
    assert (await account.get()).value == "good"
    assert begun == 1
    await account.close()


async def test_a_stream_is_renewed_before_its_token_ends_without_a_gap(tmp_path: Path) -> None:
    async with (
        guarded(tmp_path, lifetime=2.0) as (server, google, database, _),
        following(server, database) as heard,
    ):
        for count in range(2, 60):
            await heard.waiting(count - 1)
            server.write(f"{PATH}/job-{count}", {"status": "pending"})
            await asyncio.sleep(0.05)
        assert len(google.grants) >= 2
        assert not heard.failures
        assert len(server.streams) <= 2
        counts = [each.waiting for each in heard.readings]
        assert counts == sorted(counts)
        assert set(counts) >= set(range(1, 59))


async def test_a_revoked_stream_comes_back_with_a_new_token(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, google, database, account), following(server, database) as heard:
        await heard.waiting(1)
        server.tokens.revoke((await account.get()).value)
        server.disturb(Fault(what="send", where="running", body=auth_revoked_frame().decode()))
        assert (await heard.failure()).code == "unauthorized"
        server.write(f"{PATH}/b", {"status": "pending"})
        await heard.waiting(2)
        assert len(google.grants) == 2


async def test_a_token_endpoint_that_refuses_or_is_away(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, google, database, _), following(server, database) as heard:
        await heard.waiting(1)
    async with guarded(tmp_path) as (server, google, database, _):
        google.status = 400
        async with following(server, database) as heard:
            failure = await heard.failure()
            assert failure.code == "unauthorized"
            assert "check the service account" in failure.reason
            assert not heard.readings
            google.status = 200
            await heard.waiting(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("not json", "is not one"),
        ('{"type": "authorized_user"}', "is not one"),
        ('{"type": "service_account", "private_key": "x"}', "is not one"),
    ],
)
async def test_a_key_file_that_is_none(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceError, match=words) as raised:
        await GoogleToken.of(file, SYSTEM_CLOCK).get()
    assert raised.value.code == "unauthorized"


async def test_a_replaced_key_file_counts_from_the_next_refresh(tmp_path: Path) -> None:
    tokens = Tokens(required=True)
    file = tmp_path / "key.json"
    file.write_text("rotated away")
    async with token_endpoint(tokens) as google:
        account = GoogleToken.of(file, SYSTEM_CLOCK)
        with pytest.raises(SourceError):
            await account.get()
        google.write_key(file)
        assert (await account.get()).value in tokens.ends


async def test_an_endpoint_that_is_away(tmp_path: Path) -> None:
    async with token_endpoint(Tokens()) as google:
        file = google.write_key(tmp_path / "key.json")
    with pytest.raises(SourceError, match="cannot be reached") as raised:
        await GoogleToken.of(file, SYSTEM_CLOCK).get()
    assert raised.value.code == "unreachable"


async def test_application_default_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens()
    async with token_endpoint(tokens) as google:
        file = google.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        account = GoogleToken.of(None, SYSTEM_CLOCK)
        assert (await account.get()).value in tokens.ends
    await until(lambda: google.grants, within=1)
