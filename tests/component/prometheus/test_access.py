"""How a real Prometheus is reached: TLS, client certificates, tokens and their files, and lines that go dead."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from ottoscaler.adapter.reading import ReadFailure
from ottoscaler.adapter.sources.prometheus import BACKEND
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings, PrometheusTLS
from tests.component.prometheus.server import process
from tests.faults.proxy import Fault, FaultProxy
from tests.ports import free_port
from tests.redis.certificates import Authority, Pair
from tests.sources import Published, queue, running, source_of


def settings(port: int, *, scheme: str = "https", tls: PrometheusTLS | None = None) -> PrometheusSettings:
    return PrometheusSettings(url=f"{scheme}://127.0.0.1:{port}", waiting="vector(6)", tls=tls)


@asynccontextmanager
async def reading(asked: PrometheusSettings, *, timeout: float = 5.0) -> AsyncIterator[Published]:
    async with running(source_of(BACKEND, [queue("q", asked, timeout=timeout)])) as published:
        yield published


async def refused(published: Published, reason: str) -> ReadFailure:
    """The next failure whose reason begins so; the server may still be starting, or use the old file."""
    async with asyncio.timeout(20):
        while True:
            news = await published.next("q")
            if isinstance(news, ReadFailure) and news.reason.startswith(reason):
                assert "127.0.0.1" not in news.reason
                return news


@asynccontextmanager
async def secured(directory: Path, own: Pair, *, clients: Path | None = None) -> AsyncIterator[int]:
    """A server with that certificate; with `clients` it wants theirs, of that authority. Its port."""
    wanted = f", client_auth_type: RequireAndVerifyClientCert, client_ca_file: {clients}" if clients else ""
    web_config = directory / "web.yml"
    web_config.write_text(
        f"tls_server_config: {{cert_file: {own.certificate}, key_file: {own.key}{wanted}}}\n"
    )
    port = free_port()
    async with process(directory, port, "127.0.0.1:1", (f"--web.config.file={web_config}",)):
        yield port


def replaced(new: Path, old: Path) -> None:
    """As a mounted Secret changes: the new file takes the old one's place at once."""
    copy = old.with_suffix(".new")
    shutil.copy(new, copy)
    copy.replace(old)


async def test_a_certificate_counts_if_the_authority_in_the_file_has_signed_it(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "somebody else")
    trusted = tmp_path / "ca.pem"
    shutil.copy(stranger.certificate, trusted)
    async with (
        secured(tmp_path, authority.issue("server", address="127.0.0.1")) as port,
        reading(settings(port, tls=PrometheusTLS(ca_file=trusted))) as published,
    ):
        failure = await refused(published, "the certificate of Prometheus is not trusted")
        assert failure.code == "unreachable"
        replaced(authority.certificate, trusted)
        assert (await published.reading("q")).waiting == 6


async def test_the_certificate_must_have_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(tmp_path, authority.issue("prometheus.example")) as port:
        async with reading(settings(port, tls=PrometheusTLS(ca_file=authority.certificate))) as published:
            await refused(published, "the certificate of Prometheus is not trusted")
        tls = PrometheusTLS(ca_file=authority.certificate, server_name="prometheus.example")
        async with reading(settings(port, tls=tls)) as published:
            assert (await published.reading("q")).waiting == 6


async def test_a_client_certificate_is_presented_and_read_anew_when_it_changes(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "somebody else")
    good, bad = authority.issue("reader"), stranger.issue("impostor")
    certificate, key = tmp_path / "client.pem", tmp_path / "client-key.pem"
    shutil.copy(bad.certificate, certificate)
    shutil.copy(bad.key, key)
    own = authority.issue("server", address="127.0.0.1")
    tls = PrometheusTLS(ca_file=authority.certificate, cert_file=certificate, key_file=key)
    async with secured(tmp_path, own, clients=authority.certificate) as port:
        async with reading(settings(port, tls=PrometheusTLS(ca_file=authority.certificate))) as published:
            failure = await refused(published, "Prometheus refuses the client certificate, or wants one")
            assert failure.code == "unauthorized"
        async with reading(settings(port, tls=tls)) as published:
            failure = await refused(published, "Prometheus refuses the client certificate, or wants one")
            assert failure.code == "unauthorized"
            replaced(good.certificate, certificate)
            replaced(good.key, key)
            assert (await published.reading("q")).waiting == 6


@asynccontextmanager
async def behind_tokens(port: int, accepted: set[str]) -> AsyncIterator[int]:
    """What usually stands before a Prometheus that wants tokens: a proxy that checks them. Its port."""

    async def forward(request: web.Request) -> web.Response:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in accepted:
            return web.Response(status=401)
        url = f"http://127.0.0.1:{port}{request.rel_url}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return web.Response(status=answer.status, body=await answer.read())

    application = web.Application()
    application.router.add_get("/api/v1/query", forward)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_bearer_token_is_read_from_its_file_for_each_measurement(tmp_path: Path) -> None:
    token, accepted, port = tmp_path / "token", {"first"}, free_port()
    token.write_text("first\n")
    async with process(tmp_path, port, "127.0.0.1:1"), behind_tokens(port, accepted) as guarded:
        asked = PrometheusSettings(
            url=f"http://127.0.0.1:{guarded}", waiting="vector(6)", bearer_token_file=token
        )
        async with reading(asked) as published:
            assert (await published.reading("q")).waiting == 6
            accepted.clear()
            accepted.add("second")
            failure = await refused(published, "Prometheus refuses the credentials")
            assert failure.code == "unauthorized"
            token.write_text("second\n")
            await published.reading("q")
            token.unlink()
            failure = await refused(published, "the bearer token for Prometheus cannot be read")
            assert failure.code == "unauthorized"


async def test_a_line_that_went_dead_is_noticed_and_left(tmp_path: Path) -> None:
    port = free_port()
    async with (
        process(tmp_path, port, "127.0.0.1:1"),
        FaultProxy("127.0.0.1", port) as proxy,
        reading(settings(proxy.port, scheme="http"), timeout=0.5) as published,
    ):
        await published.reading("q")
        await proxy.inflict(Fault.SILENCE)
        failure = await refused(published, "Prometheus does not answer in time")
        assert failure.code == "unreachable"
        await proxy.heal()
        await published.reading("q")
