"""A TLS server with delegated authentication, without HTTP: connections by real handshakes, headers by hand."""

import ssl
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice.authentication import DelegatedAuthenticator
from ottoscaler.apiservice.delegation import ClusterTrust
from ottoscaler.apiservice.identity import Connection, Headers, Identity
from ottoscaler.apiservice.reviews import Reviewer
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import ServerTls, ServingCertificate
from ottoscaler.apiservice.tokens import TokenAuthenticator
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from tests.component.apiservice.authorities import (
    SERVER,
    Issued,
    authority,
    client_context,
    configmap_data,
    leaf,
    shake_hands,
)

SERVER_CA = authority("server-ca")


def server_certificate(ca: Issued = SERVER_CA, name: str = "adapter.ottoscaler.svc") -> ServingCertificate:
    issued = leaf(ca, name, names=(name,), usages=(SERVER,))
    return ServingCertificate(chain=issued.chain_pem, key=issued.key_pem)


def headers(*fields: tuple[str, str], **named: str) -> Headers:
    """Header fields; keyword names have `_` for `-`."""
    every = CIMultiDict(fields)
    for name, value in named.items():
        every.add(name.replace("_", "-"), value)
    return CIMultiDictProxy(every)


AS_ADMIN = headers(X_Remote_User="admin", X_Remote_Group="system:masters")


class KnownTokens:
    """An API server that knows some tokens (the real one is asked in tests/cluster)."""

    def __init__(self, **users: str) -> None:
        self.users = users
        self.asked = 0

    async def create(self, path: str, body: Any) -> Any:
        self.asked += 1
        name = self.users.get(body["spec"]["token"])
        user = {"user": {"username": name, "groups": ["people"]}} if name else {}
        return {"status": {"authenticated": name is not None, **user}}


class SecuredServer:
    """What stands between a TLS connection and a request, as the adapter composes it."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, tokens: KnownTokens | None = None) -> None:
        metrics = SecurityMetrics()
        self.tls = ServerTls()
        self.tls.use_certificate(server_certificate())
        self.trust = ClusterTrust(
            metrics=metrics, on_change=lambda trust: self.tls.trust(trust.authorities), clock=clock
        )
        reviewer = Reviewer(tokens or KnownTokens(), "token", metrics=metrics, clock=clock)
        self.authenticator = DelegatedAuthenticator(
            self.trust.current, TokenAuthenticator(reviewer, clock=clock), clock=clock
        )

    def publish(
        self,
        *,
        front_proxy: tuple[Issued, ...] = (),
        clients: tuple[Issued, ...] = (),
        allowed_names: tuple[str, ...] = ("front-proxy-client",),
    ) -> None:
        """The cluster's ConfigMap says this from now on."""
        self.trust.update(
            {"data": configmap_data(front_proxy=front_proxy, clients=clients, allowed_names=allowed_names)}
        )

    def connect(
        self, certificate: Issued | None = None, *, version: ssl.TLSVersion | None = None
    ) -> Connection:
        """A connection of a client with `certificate`; raises `ssl.SSLError` when it is refused."""
        hands = shake_hands(self.tls.context, client_context(certificate, version=version))
        return self.tls.connection(hands.server)

    async def identify(self, connection: Connection, fields: Headers) -> Identity:
        """As the server asks: the fast path first."""
        return self.authenticator.cached(connection, fields) or await self.authenticator.authenticate(
            connection, fields
        )
