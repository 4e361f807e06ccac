"""Why a call failed, in words that say what to do: against real sockets, TLS and a real server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from ottoscaler.cli.calls import CallError, Target, explain, orchestrator, target
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from tests.orchestrator.replica import Replica
from tests.ports import free_port
from tests.redis.certificates import Authority


async def failure(to: Target, *, timeout: float = 10.0) -> CallError | None:
    """How asking for the workers failed; None when it did not."""
    async with orchestrator(to) as stub:
        try:
            await stub.GetWorkerStatus(pb.WorkerStatusRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return explain(error, to, timeout=timeout)
    return None


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """A server that sends `answer` to whatever it is sent, and closes; that says nothing when it is None."""

    accepted: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        if answer is not None:
            await reader.read(1)
            writer.write(answer)
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in accepted:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_nobody_is_there() -> None:
    address = f"127.0.0.1:{free_port()}"
    found = await failure(target(address))
    assert str(found) == (
        f"{address} cannot be reached: nothing listens there: "
        "is the orchestrator running, and is --server right?"
    )
    assert found is not None
    assert (found.status, found.passing) == (1, True)


async def test_a_name_that_nobody_knows() -> None:
    found = await failure(target("no-such-host.invalid:9090"))
    assert (
        str(found)
        == "no-such-host.invalid:9090 cannot be reached: its name cannot be resolved: check --server"
    )


async def test_something_else_is_there() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as address:
        found = await failure(target(address))
        assert "it speaks HTTP/1: give the gRPC port (9090 unless configured otherwise)" in str(found)
    async with answering(None) as address:
        found = await failure(target(address), timeout=0.5)
        assert f"{address} did not answer within 500ms: is it the orchestrator's gRPC port?" in str(found)
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = await failure(target(f"127.0.0.1:{port}"))
    await server.stop(0)
    assert str(found) == f"127.0.0.1:{port} does not know this call: is it the orchestrator's gRPC port?"


async def test_a_server_that_accepts_nobody() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        found = await failure(target(f"127.0.0.1:{listening.getsockname()[1]}"), timeout=2)
    assert found is not None
    assert found.status == 1


async def test_tls_and_mutual_tls_by_files(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "another authority")
    serving = authority.issue("orchestrator", address="127.0.0.1")
    mine, theirs = authority.issue("client"), other.issue("stranger")
    tls = {
        "certFile": str(serving.certificate),
        "keyFile": str(serving.key),
        "clientCaFile": str(authority.certificate),
    }
    trusting: dict[str, Any] = {"ca_file": authority.certificate}
    known = trusting | {"cert_file": mine.certificate, "key_file": mine.key}
    strange = trusting | {"cert_file": theirs.certificate, "key_file": theirs.key}
    async with Replica(tmp_path, {"mock": True, "grpc": {"tls": tls}}) as replica:
        by_name = f"localhost:{replica.grpc_port}"
        assert await failure(target(replica.address, **known)) is None
        assert await failure(target(by_name, **known, server_name="orchestrator")) is None
        for to, words in (
            (target(by_name, **known), "its certificate is for another name: say which with --server-name"),
            (target(replica.address, **known | {"ca_file": other.certificate}), "its certificate is not of the CA in --ca-file"),
            (target(replica.address, **trusting), "does it want a client certificate (--cert-file)?"),
            (target(replica.address, **strange), "does it want another client certificate than that of --cert-file?"),
            (target(replica.address), "it closes the connection: does it want TLS (--ca-file)?"),
        ):  # fmt: skip
            found = await failure(to)
            assert words in str(found)
            assert str(found).startswith(f"{to.address} cannot be reached: ")


async def test_tls_to_a_server_without(tmp_path: Path) -> None:
    async with Replica(tmp_path, {"mock": True}) as replica:
        found = await failure(target(replica.address, ca_file=Authority(tmp_path).certificate))
        assert (
            str(found) == f"{replica.address} cannot be reached: it does not speak TLS: leave --ca-file out"
        )


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
async def test_a_file_that_only_looks_like_pem(name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("client")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n")
    files: dict[str, Any] = {
        "ca_file": authority.certificate,
        "cert_file": pair.certificate,
        "key_file": pair.key,
    }
    found = await failure(target(f"127.0.0.1:{free_port()}", **files | {name: broken}), timeout=2)
    assert found is not None
    assert found.status == 1
