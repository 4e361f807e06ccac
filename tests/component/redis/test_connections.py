"""How a Redis lets itself be read: users, rights, passwords, certificates; and what people are told when not."""

from pathlib import Path
from typing import Any

import pytest
import redis

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.runtime.redis import RedisTLS
from ottoscaler.runtime.redis_client import client as open_client
from tests.redis import rights
from tests.redis.certificates import Authority
from tests.redis.rows import GROUP, STREAM
from tests.redis.server import RedisServer
from tests.sources import News, queue, read_once, running, source_of

READ_RIGHTS = rights.ALWAYS + rights.STREAM


def _three_jobs(client: "redis.Redis", *, deleted: bool = False) -> None:
    for number in range(1, 5):
        client.xadd(STREAM, {"task_id": str(number)}, id=f"{number}-0")
    client.xgroup_create(STREAM, GROUP, "0")
    client.xreadgroup(GROUP, "pod-1", {STREAM: ">"}, count=2)
    client.xdel(STREAM, "1-0", "3-0") if deleted else client.xtrim(STREAM, maxlen=3, approximate=False)


def _settings(server: RedisServer, **options: Any) -> RedisSettings:
    return RedisSettings(**({"url": server.url, "stream": STREAM, "group": GROUP} | options))


def _error(news: News) -> SourceError:
    assert isinstance(news, SourceError), news
    return news


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_user_with_only_the_documented_rights_reads(server: RedisServer, *, deleted: bool) -> None:
    with server.commands() as client:
        _three_jobs(client, deleted=deleted)
    rights.allow(server, READ_RIGHTS, keys="%R~otto:*")
    settings = _settings(server, username="reader", password_variable="READER_PASSWORD")
    found = await read_once(BACKEND, queue("events", settings), environ={"READER_PASSWORD": "secret"})
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing) == ((1, 1) if deleted else (2, 1))


@pytest.mark.parametrize("missing", [right for right in READ_RIGHTS if right != "+role"])
async def test_a_missing_right_is_said_and_no_number_invented(server: RedisServer, missing: str) -> None:
    with server.commands() as client:
        _three_jobs(client, deleted=True)
        client.xgroup_setid(STREAM, GROUP, "2-0")
    rights.allow(server, [right for right in READ_RIGHTS if right != missing])
    settings = _settings(server, url=server.url.replace("//", "//reader:secret@"))
    found = await read_once(BACKEND, queue("events", settings))
    assert isinstance(found, ReadFailure), found
    assert (found.code, found.reason) == ("forbidden", "the Redis user lacks a right")
    assert missing.removeprefix("+") in found.detail


def _as_reader(server: RedisServer, **options: Any) -> RedisSettings:
    return _settings(server, **options, url=server.url.replace("//", "//reader:secret@"))


def _refused(found: News, right: str) -> None:
    assert isinstance(found, ReadFailure | SourceError), found
    assert (found.code, right in found.detail) == ("forbidden", True)


async def test_the_documented_rights_let_a_group_be_created(server: RedisServer) -> None:
    settings = _as_reader(server, missing="create")
    rights.allow(server, READ_RIGHTS, keys="%RW~*")
    _refused(await read_once(BACKEND, queue("events", settings)), "xgroup|create")
    rights.allow(server, READ_RIGHTS + rights.CREATE, keys="%R~*")
    _refused(await read_once(BACKEND, queue("events", settings)), "")
    rights.allow(server, READ_RIGHTS + rights.CREATE, keys="%RW~*")
    found = await read_once(BACKEND, queue("events", settings))
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing) == (0, 0)


async def test_the_documented_rights_let_lists_be_counted(server: RedisServer) -> None:
    with server.commands() as client:
        client.rpush("otto:wait", "1", "2")
    url = server.url.replace("//", "//reader:secret@")
    settings = _convert({"url": url, "lists": {"waiting": ["otto:wait"]}})
    rights.allow(server, rights.ALWAYS)
    _refused(await read_once(BACKEND, queue("mail", settings)), "llen")
    rights.allow(server, rights.ALWAYS + rights.LISTS)
    found = await read_once(BACKEND, queue("mail", settings))
    assert isinstance(found, Reading)
    assert found.waiting == 2


async def test_the_documented_rights_let_a_database_be_selected(server: RedisServer) -> None:
    with server.commands(db=3) as client:
        _three_jobs(client)
    settings = _settings(server, url=server.url.replace("//", "//reader:secret@")[:-1] + "3")
    rights.allow(server, READ_RIGHTS)
    assert isinstance(await read_once(BACKEND, queue("events", settings)), SourceError)
    rights.allow(server, READ_RIGHTS + rights.DATABASE)
    assert isinstance(await read_once(BACKEND, queue("events", settings)), Reading)


async def test_a_key_that_the_user_may_not_read_fails_alone(server: RedisServer) -> None:
    with server.commands() as client:
        _three_jobs(client)
    rights.allow(server, READ_RIGHTS, keys="%R~otto:*")
    mine = _settings(server, username="reader", password_variable="P")
    other = _settings(server, username="reader", password_variable="P", stream="private")
    source = source_of(BACKEND, [queue("mine", mine), queue("other", other)], environ={"P": "secret"})
    async with running(source) as published:
        await published.reading("mine")
        failure = next(news for news in published.all if isinstance(news, ReadFailure))
        assert (failure.queue, failure.code) == ("other", "forbidden")
        assert not any(isinstance(news, SourceError) for news in published.all)


async def test_a_password_that_rotates_in_its_file_is_read_anew(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("first\n")
    with RedisServer("--requirepass", "first") as server:
        with server.commands(password="first") as client:
            _three_jobs(client)
        settings = _settings(server, password_file=password)
        async with running(source_of(BACKEND, [queue("events", settings)])) as published:
            await published.reading()
            with server.commands(password="first") as client:
                client.config_set("requirepass", "second")
                client.client_kill_filter(_type="normal", skipme=True)
            refused = _error(await published.next())
            assert (refused.code, str(refused)) == ("unauthorized", "Redis refuses the user or the password")
            password.write_text("second\n")
            assert (await published.reading()).waiting == 2


async def test_what_people_are_told_without_a_password(tmp_path: Path) -> None:
    with RedisServer("--requirepass", "secret") as server:
        none = _error(await read_once(BACKEND, queue("events", _settings(server))))
        assert (none.code, str(none)) == ("unauthorized", "Redis wants a password")
        absent = _settings(server, password_file=tmp_path / "absent")
        unreadable = _error(await read_once(BACKEND, queue("events", absent)))
        assert (unreadable.code, str(unreadable)) == ("unauthorized", "the password of Redis cannot be read")
        unset = _error(
            await read_once(BACKEND, queue("events", _settings(server, password_variable="UNSET")))
        )
        assert unset.code == "unauthorized"
        assert "UNSET" in unset.detail
        wrong = _settings(server, url=server.url.replace("//", "//:hunter2@"))
        refused = _error(await read_once(BACKEND, queue("events", wrong)))
        assert refused.code == "unauthorized"
        assert "hunter2" not in str(refused) + refused.detail


async def test_mutual_tls_is_spoken_and_files_are_read_anew(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    stranger = Authority(tmp_path, "stranger")
    own = authority.issue("redis", address="127.0.0.1")
    mine = authority.issue("adapter")
    ca = str(authority.certificate)
    arguments = (
        "--tls-cert-file",
        str(own.certificate),
        "--tls-key-file",
        str(own.key),
        "--tls-ca-cert-file",
        ca,
    )
    with RedisServer(*arguments, "--tls-auth-clients", "yes", tls=True) as server:
        certificates = {
            "ssl_ca_certs": ca,
            "ssl_certfile": str(mine.certificate),
            "ssl_keyfile": str(mine.key),
        }
        with server.commands(ssl=True, **certificates) as client:
            _three_jobs(client)
        tls = RedisTLS(ca_file=authority.certificate, cert_file=mine.certificate, key_file=mine.key)
        settings = _settings(server, tls=tls)
        found = await read_once(BACKEND, queue("events", settings))
        assert isinstance(found, Reading)
        assert found.waiting == 2
        async with open_client(settings.connection(), environ={}) as shared:
            assert await shared.xlen(STREAM) == 3

        nothing = _error(await read_once(BACKEND, queue("events", _settings(server))))
        assert str(nothing) == "the certificate of Redis is not trusted"
        anonymous = _settings(server, tls=RedisTLS(ca_file=authority.certificate))
        assert _error(await read_once(BACKEND, queue("events", anonymous))).code == "unreachable"
        distrust = _settings(
            server, tls=RedisTLS(ca_file=stranger.certificate, cert_file=mine.certificate, key_file=mine.key)
        )
        assert str(_error(await read_once(BACKEND, queue("events", distrust)))) == str(nothing)
        mine.certificate.unlink()
        gone = _error(await read_once(BACKEND, queue("events", settings)))
        assert str(gone) == "a certificate file for Redis cannot be read"


async def test_a_certificate_for_another_host_is_refused_unless_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("redis.internal")
    arguments = ("--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key))
    with RedisServer(
        *arguments, "--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no", tls=True
    ) as server:
        strict = _settings(server, tls=RedisTLS(ca_file=authority.certificate), missing="empty")
        assert _error(await read_once(BACKEND, queue("events", strict))).code == "unreachable"
        lenient = RedisTLS(ca_file=authority.certificate, verify_hostname=False)
        found = await read_once(BACKEND, queue("events", _settings(server, tls=lenient, missing="empty")))
        assert isinstance(found, Reading)


async def test_a_connection_that_the_server_closed_while_idle_is_no_failure(server: RedisServer) -> None:
    with server.commands() as client:
        _three_jobs(client)
        async with running(source_of(BACKEND, [queue("events", _settings(server))])) as published:
            await published.reading()
            for _ in range(3):
                client.client_kill_filter(_type="normal", skipme=True)
                await published.reading()
        assert not any(isinstance(news, SourceError) for news in published.all)


async def test_a_database_is_selected(server: RedisServer) -> None:
    with server.commands(db=3) as client:
        _three_jobs(client)
    found = await read_once(BACKEND, queue("events", _settings(server, url=server.url[:-1] + "3")))
    assert isinstance(found, Reading)
    assert found.waiting == 2


async def test_queues_come_and_go_without_a_new_connection(server: RedisServer) -> None:
    with server.commands() as client:
        _three_jobs(client)
        first, second = _settings(server), _settings(server, stream="other", missing="empty")
        source = source_of(BACKEND, [queue("first", first, interval=600.0)])
        async with running(source) as published:
            await published.reading("first")
            connections = client.info("stats")["total_connections_received"]
            source.set_queues(
                [queue("first", first, interval=600.0), queue("second", second, interval=600.0)]
            )
            await published.reading("second")
            source.set_queues([queue("second", second, interval=600.0)])
            source.set_queues([queue("first", first, interval=0.2)])
            await published.reading("first")
            assert client.info("stats")["total_connections_received"] == connections
            assert len(published.readings("second")) == 1


async def test_lists_are_counted_by_their_lengths(server: RedisServer) -> None:
    with server.commands() as client:
        client.rpush("bull:mail:wait", "1", "2", "3")
        client.rpush("bull:mail:active", "0")
        client.set("bull:mail:text", "x")
    lists = {"waiting": ("bull:mail:wait", "bull:mail:paused"), "processing": ("bull:mail:active",)}
    settings = _convert({"url": server.url, "lists": lists})
    assert BACKEND.kind(settings) == "redis-list"
    found = await read_once(BACKEND, queue("mail", settings))
    assert isinstance(found, Reading)
    assert (found.waiting, found.processing, found.oldest_waiting_at) == (3, 1, None)
    wrong = await read_once(
        BACKEND, queue("mail", _convert({"url": server.url, "lists": {"waiting": ["bull:mail:text"]}}))
    )
    assert isinstance(wrong, ReadFailure)
    assert (wrong.code, wrong.reason) == ("invalid", "its key holds another type of value")


async def test_a_stream_key_of_another_type_is_said(server: RedisServer) -> None:
    with server.commands() as client:
        client.set(STREAM, "x")
    found = await read_once(BACKEND, queue("events", _settings(server)))
    assert isinstance(found, ReadFailure)
    assert found.code == "invalid"


def _convert(block: dict[str, Any]) -> RedisSettings:
    import msgspec

    return msgspec.convert(block, RedisSettings)
