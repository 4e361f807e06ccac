"""A machine without a cluster: one token lets in, anything else does not, and the certificate verifies."""

import asyncio
import ssl
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice.identity import Attributes, Connection, Headers, Unauthenticated, User
from ottoscaler.apiservice.standalone import StandaloneSecurity
from tests.component.apiservice.authorities import authority, client_context, leaf, shake_hands

READING = Attributes(verb="list", path="/", resource="queue_demand", namespace="default")


def bearing(token: str | None, **more: str) -> Headers:
    fields = {"Authorization": f"Bearer {token}"} if token is not None else {}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return CIMultiDictProxy(CIMultiDict(fields))


async def test_whoever_has_the_token_may_read_everything(tmp_path: Path) -> None:
    security = StandaloneSecurity(tmp_path)
    identity = security.authenticator.cached(Connection(), bearing(security.token))
    assert identity is not None
    assert identity.method == "standalone"
    assert await security.authenticator.authenticate(Connection(), bearing(security.token)) is identity
    decision = security.authorizer.cached(identity.user, READING)
    assert decision is not None
    assert decision.allowed


async def test_nobody_else_may_read_anything(tmp_path: Path) -> None:
    security = StandaloneSecurity(tmp_path)
    forged = {"X_Remote_User": "admin", "X_Remote_Group": "system:masters"}
    for headers, reason in (
        (bearing(None), "none"),
        (bearing(None, **forged), "none"),
        (bearing("", **forged), "none"),
        (bearing(security.token[:-1]), "token"),
        (bearing(security.token + "x"), "token"),
    ):
        assert security.authenticator.cached(Connection(), headers) is None
        with pytest.raises(Unauthenticated) as refused:
            await security.authenticator.authenticate(Connection(), headers)
        assert refused.value.reason == reason
        assert security.token not in str(refused.value)
    assert not (await security.authorizer.authorize(User(name="jane"), READING)).allowed


async def test_every_start_has_a_token_of_its_own_unless_one_is_given(tmp_path: Path) -> None:
    first, second = StandaloneSecurity(tmp_path), StandaloneSecurity(tmp_path)
    assert first.token != second.token
    assert len(first.token) >= 32
    assert StandaloneSecurity(tmp_path, token="given").token == "given"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
async def test_a_client_that_trusts_the_ca_file_verifies_the_server(name: str, tmp_path: Path) -> None:
    security = StandaloneSecurity(tmp_path)
    assert not security.is_ready()
    await security.start()
    assert security.is_ready()
    client = ssl.create_default_context(cafile=str(security.authority))
    shake_hands(security.tls.context, client, server_hostname=name)


async def test_a_client_certificate_is_worth_nothing_here(tmp_path: Path) -> None:
    security = StandaloneSecurity(tmp_path)
    await security.start()
    stranger = client_context(leaf(authority("ca"), "admin", organisations=("system:masters",)))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(security.tls.context, stranger)


async def test_it_goes_on_by_itself_and_ends_when_told(tmp_path: Path) -> None:
    security = StandaloneSecurity(tmp_path)
    await security.start()
    before = security.tls.certificate
    running = asyncio.create_task(security.run())
    await security.ready()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert security.tls.certificate == before
