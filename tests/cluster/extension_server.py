"""A small extension API server around `DelegatedSecurity`: what the real one asks of it, without the rest.

It serves discovery and one value for every metric, and writes down whom it took each request for.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from ottoscaler.apiservice.delegated import DelegatedSecurity, GivenCertificate, OwnCertificate
from ottoscaler.apiservice.identity import (
    Attributes,
    AuthenticatorUnavailable,
    AuthorizerUnavailable,
    Connection,
    Identity,
    Unauthenticated,
)
from ottoscaler.apiservice.ownership import GROUP, VERSION
from ottoscaler.runtime.kube import KubeClient

BASE = f"/apis/{GROUP}/{VERSION}"


@dataclass(frozen=True)
class Answered:
    """One request and what became of it."""

    path: str
    identity: Identity | None
    status: int
    certificate: bytes
    """The client certificate of the connection (DER); empty: none."""


class ExtensionServer:
    """Answers requests and remembers them."""

    def __init__(self, security: DelegatedSecurity) -> None:
        self.security = security
        self.answered: list[Answered] = []
        self.port = 0
        self._connections: WeakKeyDictionary[asyncio.Transport, Connection] = WeakKeyDictionary()

    async def handle(self, request: web.Request) -> web.Response:
        connection = self._connection(request)
        identity, status, message = await self._judge(request, connection)
        self.answered.append(
            Answered(request.path, identity, status, connection.path[0] if connection.path else b"")
        )
        if status == 200:
            return web.json_response(_document(request.path))
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": message}
        return web.json_response(body, status=status)

    async def _judge(self, request: web.Request, connection: Connection) -> tuple[Identity | None, int, str]:
        authenticator, authorizer = self.security.authenticator, self.security.authorizer
        attributes = _attributes(request.path)
        identity: Identity | None = None
        try:
            identity = authenticator.cached(connection, request.headers) or (
                await authenticator.authenticate(connection, request.headers)
            )
            decision = authorizer.cached(identity.user, attributes) or (
                await authorizer.authorize(identity.user, attributes)
            )
        except Unauthenticated as error:
            return None, 401, str(error)
        except (AuthenticatorUnavailable, AuthorizerUnavailable) as error:
            return identity, 503, str(error)
        return identity, 200 if decision.allowed else 403, decision.reason

    def _connection(self, request: web.Request) -> Connection:
        assert request.transport is not None
        known = self._connections.get(request.transport)
        if known is None:
            tls = request.transport.get_extra_info("ssl_object")
            assert isinstance(tls, ssl.SSLObject)
            known = self._connections[request.transport] = self.security.tls.connection(tls)
        return known


def _attributes(path: str) -> Attributes:
    parts = path.removeprefix(BASE).strip("/").split("/")
    if path.startswith(f"{BASE}/namespaces/") and len(parts) == 3:
        return Attributes(
            verb="list", path=path, group=GROUP, version=VERSION, namespace=parts[1], resource=parts[2]
        )
    return Attributes(verb="get", path=path)


def _document(path: str) -> dict[str, Any]:
    if path == BASE:
        resource = {
            "name": "queue_demand",
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/{VERSION}",
            "resources": [resource],
        }
    item = {
        "metricName": "queue_demand",
        "metricLabels": {},
        "timestamp": "2026-09-21T00:00:00Z",
        "value": "3",
    }
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {},
        "items": [item],
    }


@asynccontextmanager
async def extension_server(
    client: KubeClient, certificate: OwnCertificate | GivenCertificate, *, address: str
) -> AsyncIterator[ExtensionServer]:
    """A server on a free port of `address`, ready to tell callers apart."""
    security = DelegatedSecurity(client, certificate)
    served = ExtensionServer(security)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    keeping = asyncio.create_task(security.run())
    try:
        await runner.setup()
        site = web.TCPSite(runner, address, 0, ssl_context=security.tls.context)
        await site.start()
        served.port = runner.addresses[0][1]
        async with asyncio.timeout(20.0):
            await security.ready()
        yield served
    finally:
        await runner.cleanup()
        keeping.cancel()
        await asyncio.wait([keeping])
