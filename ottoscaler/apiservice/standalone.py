"""Security for one machine without a cluster: one token, one certificate, the same code path.

Whoever holds the token, which is made at start and shown to the person who started the process, may read
everything; nobody else may read anything. The certificate comes from a CA of our own in a directory, so
that a client can be told to trust it once.
"""

import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.authorization import SUPERUSERS
from ottoscaler.apiservice.certificate_store import DirectoryStore
from ottoscaler.apiservice.certificates import OwnCertificateKeeper
from ottoscaler.apiservice.identity import (
    Attributes,
    Connection,
    Decision,
    Headers,
    Identity,
    Unauthenticated,
    User,
)
from ottoscaler.apiservice.renewal import BUNDLE
from ottoscaler.apiservice.request_header import AUTHENTICATED
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import ServerTls
from ottoscaler.apiservice.tokens import bearer_token
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class OneToken:
    """Knows a single caller by a single token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._identity = Identity(
            user=User(name="standalone", groups=(SUPERUSERS, AUTHENTICATED)), method="standalone"
        )

    def cached(self, _connection: Connection, headers: Headers) -> Identity | None:
        token = bearer_token(headers)
        if token is None or not hmac.compare_digest(token.encode(), self._token):
            return None
        return self._identity

    async def authenticate(self, connection: Connection, headers: Headers) -> Identity:
        identity = self.cached(connection, headers)
        if identity is None:
            said = bearer_token(headers) is not None
            raise Unauthenticated("not the token that was shown at start", reason="token" if said else "none")
        return identity


class OneUserAuthorizer:
    """Allows the one user that there is everything."""

    def cached(self, user: User, _attributes: Attributes) -> Decision | None:
        return Decision(allowed=SUPERUSERS in user.groups)

    async def authorize(self, user: User, attributes: Attributes) -> Decision:
        return self.cached(user, attributes) or Decision(allowed=False)


class StandaloneSecurity:
    """What `DelegatedSecurity` is to a cluster, for a machine. `start` before use, `run` meanwhile."""

    def __init__(
        self,
        directory: Path,
        *,
        token: str | None = None,
        names: Sequence[str] = LOOPBACK,
        registry: CollectorRegistry | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        """To be shown to a person, never logged."""
        self.authority = directory / BUNDLE
        """The CA file that a client is to trust."""
        self.tls = ServerTls()
        self.authenticator = OneToken(self.token)
        self.authorizer = OneUserAuthorizer()
        self._keeper = OwnCertificateKeeper(
            DirectoryStore(directory, clock=clock),
            names=names,
            sink=self.tls.use_certificate,
            metrics=SecurityMetrics(registry),
            clock=clock,
        )

    async def start(self) -> None:
        """Makes or loads the certificate. Raises `StoreError` or `CertificateError`."""
        await self._keeper.look()

    async def run(self) -> None:
        """Renews the certificate until cancelled."""
        await self._keeper.run()

    async def ready(self) -> None:
        """For symmetry: there is nothing to wait for after `start`."""

    def is_ready(self) -> bool:
        return self.tls.certificate is not None
