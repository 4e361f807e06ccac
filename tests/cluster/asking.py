"""Requests that reach an extension API server directly, not by way of the API server, as an attacker's would."""

import ssl
from pathlib import Path

import aiohttp

from tests.cluster.addresses import NODE_IP
from tests.cluster.pki import Pair


def client_tls(pair: Pair | None, directory: Path) -> ssl.SSLContext:
    """TLS that shows `pair` and believes any server: what counts here is whom the server believes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(*pair.write(directory, "asking"))
    return context


class Asker:
    """A client with one certificate (or none) that keeps its connections."""

    def __init__(self, port: int, pair: Pair | None, directory: Path) -> None:
        self._base = f"https://{NODE_IP}:{port}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=client_tls(pair, directory)),
            timeout=aiohttp.ClientTimeout(total=20.0),
        )

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def status(self, path: str, headers: dict[str, str] | None = None) -> int | str:
        """The HTTP status, or `refused` when there was no TLS connection or it was ended in the handshake."""
        try:
            async with self._session.get(self._base + path, headers=headers) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientConnectionError, ssl.SSLError):
            return "refused"
