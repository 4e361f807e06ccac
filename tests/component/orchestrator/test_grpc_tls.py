"""TLS and mutual TLS by files, and certificates that are renewed while the server runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub
from ottoscaler.orchestrator.service.server import CannotServe
from tests.component.orchestrator.mocked import Calls, mocked
from tests.redis.certificates import Authority, Pair


@dataclass(frozen=True, slots=True)
class Issued:
    """What an installation has on disk, and what its clients have."""

    directory: Path
    authority: Authority
    server: Pair
    client: Pair


@pytest.fixture
def issued(tmp_path: Path) -> Iterator[Issued]:
    authority = Authority(tmp_path)
    yield Issued(
        tmp_path, authority, authority.issue("server", address="127.0.0.1"), authority.issue("client")
    )


def tls(issued: Issued, *, mutual: bool = False) -> dict[str, str]:
    files = {"certFile": str(issued.server.certificate), "keyFile": str(issued.server.key)}
    return files | ({"clientCaFile": str(issued.authority.certificate)} if mutual else {})


async def ask(calls: Calls, authority: Authority | None, client: Pair | None = None) -> grpc.StatusCode:
    """How a call over a connection of its own ends."""
    if authority is None:
        channel = grpc.aio.insecure_channel(calls.address)
    else:
        credentials = grpc.ssl_channel_credentials(
            authority.certificate.read_bytes(),
            None if client is None else client.key.read_bytes(),
            None if client is None else client.certificate.read_bytes(),
        )
        # a channel that shares no connection with those before it
        options = (("grpc.use_local_subchannel_pool", 1),)
        channel = grpc.aio.secure_channel(calls.address, credentials, options=options)
    async with channel:
        try:
            await OttoscalerServiceStub(channel).GetWorkerStatus(pb.WorkerStatusRequest(), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_a_client_that_trusts_the_authority_is_served(issued: Issued, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another authority")
    async with mocked(grpc={"tls": tls(issued)}) as (calls, _):
        assert await ask(calls, issued.authority) == grpc.StatusCode.OK
        assert await ask(calls, other) == grpc.StatusCode.UNAVAILABLE
        assert await ask(calls, None) == grpc.StatusCode.UNAVAILABLE, "not in the clear"


async def test_mutual_tls_wants_a_certificate_of_its_authority(issued: Issued, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "another authority").issue("stranger")
    async with mocked(grpc={"tls": tls(issued, mutual=True)}) as (calls, _):
        assert await ask(calls, issued.authority, issued.client) == grpc.StatusCode.OK
        assert await ask(calls, issued.authority) == grpc.StatusCode.UNAVAILABLE
        assert await ask(calls, issued.authority, stranger) == grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_needs_no_restart(issued: Issued, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    renewed = Authority(tmp_path / "new", "renewed authority")
    pair = renewed.issue("server", address="127.0.0.1")
    async with mocked(grpc={"tls": tls(issued)}) as (calls, _):
        assert await ask(calls, issued.authority) == grpc.StatusCode.OK
        issued.server.certificate.write_bytes(b"half a certi")
        assert await ask(calls, issued.authority) == grpc.StatusCode.OK, "the last good one is served"
        issued.server.certificate.write_bytes(pair.certificate.read_bytes())
        assert await ask(calls, issued.authority) == grpc.StatusCode.OK, "the key is still missing"
        issued.server.key.write_bytes(pair.key.read_bytes())
        assert await ask(calls, renewed) == grpc.StatusCode.OK
        assert await ask(calls, issued.authority) == grpc.StatusCode.UNAVAILABLE


async def test_another_authority_of_clients_needs_no_restart(issued: Issued, tmp_path: Path) -> None:
    other = Authority(tmp_path, "another authority")
    client = other.issue("other-client")
    async with mocked(grpc={"tls": tls(issued, mutual=True)}) as (calls, _):
        assert await ask(calls, issued.authority, client) == grpc.StatusCode.UNAVAILABLE
        both = issued.authority.certificate.read_bytes() + other.certificate.read_bytes()
        (tmp_path / "bundle").write_bytes(both)
        (tmp_path / "bundle").rename(issued.authority.certificate)
        assert await ask(calls, issued.authority, client) == grpc.StatusCode.OK
        assert await ask(calls, issued.authority, issued.client) == grpc.StatusCode.OK


@pytest.mark.parametrize("content", [None, b"", b"half a certi"], ids=["missing", "empty", "torn"])
async def test_files_that_cannot_be_used_are_an_error_at_the_start(
    issued: Issued, content: bytes | None
) -> None:
    if content is None:
        issued.server.certificate.unlink()
    else:
        issued.server.certificate.write_bytes(content)
    with pytest.raises(CannotServe, match=r"server\.crt") as caught:
        async with mocked(grpc={"tls": tls(issued)}):
            pass
    assert "\n" not in str(caught.value)


async def test_a_key_of_another_certificate_is_an_error_at_the_start(issued: Issued) -> None:
    issued.server.key.write_bytes(issued.client.key.read_bytes())
    with pytest.raises(CannotServe, match=r"server\.key"):
        async with mocked(grpc={"tls": tls(issued)}):
            pass
