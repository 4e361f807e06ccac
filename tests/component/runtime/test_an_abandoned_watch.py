"""Who stops reading a watch leaves no connection behind, even when the server no longer answers."""

import asyncio
import json
import ssl
from pathlib import Path

from ottoscaler.runtime.kube import KubeClient, WatchEvent
from ottoscaler.runtime.kubeconfig import Access
from tests.cluster.pki import Authority
from tests.waiting import until

LIST = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()
ADDED = json.dumps({"type": "ADDED", "object": {"metadata": {"resourceVersion": "2"}}}).encode() + b"\n"
CONNECTIONS: list[asyncio.StreamWriter] = []
"""The server's."""


async def no_token() -> None:
    return None


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A list; then a watch with one event, after which the server is dead: it does not even end TLS."""
    CONNECTIONS.append(writer)
    while request := await reader.readuntil(b"\r\n\r\n"):
        watching = b"watch=1" in request
        head = b"Transfer-Encoding: chunked" if watching else b"Content-Length: %d" % len(LIST)
        body = b"%x\r\n%s\r\n" % (len(ADDED), ADDED) if watching else LIST
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n\r\n" + body)
        if watching:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            return


def open_sockets() -> int:
    """Sockets of this process."""
    links = (each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    return sum(str(link).startswith("socket:") for link in links)


async def test_its_connection_is_gone_when_the_client_is_closed(tmp_path: Path) -> None:
    authority = Authority.create("ca")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(*authority.issue("server", hosts=("127.0.0.1",)).write(tmp_path, "server"))
    seen: list[WatchEvent] = []

    async def follow(kube: KubeClient) -> None:
        async for event in kube.watch("/api/v1/things"):
            seen.append(event)

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=served) as server:
        tls = ssl.create_default_context(cadata=authority.pem.decode())
        port = server.sockets[0].getsockname()[1]
        before = open_sockets()
        access = Access(
            server=f"https://127.0.0.1:{port}", namespace="x", tls=tls, server_hostname=None, token=no_token
        )
        async with KubeClient(access) as kube:
            following = asyncio.create_task(follow(kube))
            await until(lambda: len(seen) == 2, what="the list and an event")
            assert seen[0] == WatchEvent("SYNC", [], "1")
            following.cancel()
            await asyncio.wait([following])
        held = len(CONNECTIONS)  # the server's ends, in this process too
        await until(lambda: open_sockets() == before + held, within=2.0, what="the client's ends are closed")
        for each in CONNECTIONS:
            each.transport.abort()
