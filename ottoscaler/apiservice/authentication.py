"""Who sends a request: delegated authentication in the order in which Kubernetes tries it.

A front proxy's header fields, then a user's client certificate, then a bearer token; nobody else is let
in. Header fields count only on a connection whose certificate chains to the front proxy's CA and has an
allowed name; on any other they are as if they were not there. The connection's certificate is read once
and judged again whenever the cluster's trust changes, so that a removed CA is worthless from then on, on
connections and TLS sessions of before too.
"""

from collections.abc import Callable

from cachetools import LRUCache

from ottoscaler.apiservice.client_certificate import CertificateRefused, PeerCertificate, read_path
from ottoscaler.apiservice.identity import Connection, Headers, Identity, Unauthenticated
from ottoscaler.apiservice.request_header import ProxyFieldReader, ProxyFields
from ottoscaler.apiservice.tokens import TokenAuthenticator, bearer_token
from ottoscaler.apiservice.trust import Trust
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

_CALLERS_KEPT = 2048


class _Judgement:
    """What a connection's certificate is worth under one generation of trust."""

    __slots__ = ("certificate", "front_proxy", "identity", "refusal", "trust")

    def __init__(self, trust: Trust, path: tuple[bytes, ...], previous: "_Judgement | None") -> None:
        self.trust = trust
        self.certificate: PeerCertificate | None = None
        self.refusal: str | None = None
        self.front_proxy = False
        self.identity: Identity | None = None
        try:
            self.certificate = (previous.certificate if previous else None) or (
                read_path(path) if path else None
            )
        except CertificateRefused as error:
            self.refusal = str(error)
        if self.certificate is not None:
            self._judge(self.certificate)

    def _judge(self, certificate: PeerCertificate) -> None:
        proxy = self.trust.front_proxy
        signed_as_proxy = proxy is not None and not proxy.anchors.isdisjoint(certificate.anchors)
        if proxy is not None and signed_as_proxy:
            self.front_proxy = proxy.allows(certificate.common_name)
        if not self.trust.client_anchors.isdisjoint(certificate.anchors):
            if certificate.user is not None:
                self.identity = Identity(user=certificate.user, method="client-certificate")
            else:
                self.refusal = "the client certificate has no common name"
        elif not signed_as_proxy:
            self.refusal = "the client certificate is signed by a CA that is not trusted (any more)"
        elif not self.front_proxy:
            self.refusal = (
                f"the front proxy's certificate has the name {certificate.common_name!r}, "
                "which requestheader-allowed-names does not list"
            )


class _ProxiedCallers:
    """The users whom front proxies named lately, by their raw header fields."""

    __slots__ = ("_known", "_reader", "trust")

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._reader = ProxyFieldReader(trust.front_proxy.headers) if trust.front_proxy else None
        self._known: LRUCache[ProxyFields, Identity] = LRUCache(_CALLERS_KEPT)

    def identity(self, headers: Headers) -> Identity | None:
        fields = self._reader.fields_of(headers) if self._reader is not None else None
        if fields is None or self._reader is None:
            return None
        try:
            return self._known[fields]
        except KeyError:
            identity = Identity(user=self._reader.user_of(fields), method="front-proxy")
            self._known[fields] = identity
            return identity


class DelegatedAuthenticator:
    """Believes whom the cluster believes. `trust` gives the generation in force, at every request."""

    def __init__(
        self, trust: Callable[[], Trust], tokens: TokenAuthenticator, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._trust = trust
        self._tokens = tokens
        self._now = clock.time
        self._callers = _ProxiedCallers(trust())

    def cached(self, connection: Connection, headers: Headers) -> Identity | None:
        """The caller, unless that takes a TokenReview or there is none."""
        if connection.path and (identity := self._by_certificate(connection, headers)) is not None:
            return identity
        token = bearer_token(headers)
        return None if token is None else self._tokens.cached(token)

    async def authenticate(self, connection: Connection, headers: Headers) -> Identity:
        """The caller. Raises `Unauthenticated` or `AuthenticatorUnavailable`."""
        if connection.path and (identity := self._by_certificate(connection, headers)) is not None:
            return identity
        if (token := bearer_token(headers)) is not None:
            return await self._tokens.authenticate(token)
        if connection.path:
            raise Unauthenticated(self._refusal(connection), reason="certificate")
        raise Unauthenticated("no credentials")

    def _by_certificate(self, connection: Connection, headers: Headers) -> Identity | None:
        judgement = self._judgement(connection)
        if judgement.certificate is None or not judgement.certificate.valid_at(self._now()):
            return None
        if judgement.front_proxy:
            if self._callers.trust is not judgement.trust:
                self._callers = _ProxiedCallers(judgement.trust)
            if (identity := self._callers.identity(headers)) is not None:
                return identity
        return judgement.identity

    def _judgement(self, connection: Connection) -> _Judgement:
        trust = self._trust()
        known = connection.verified
        if isinstance(known, _Judgement) and known.trust is trust:
            return known
        judgement = _Judgement(trust, connection.path, known if isinstance(known, _Judgement) else None)
        connection.verified = judgement
        return judgement

    def _refusal(self, connection: Connection) -> str:
        judgement = self._judgement(connection)
        if judgement.refusal is not None:
            return judgement.refusal
        if judgement.certificate is not None and not judgement.certificate.valid_at(self._now()):
            return "the client certificate is not valid at this time"
        return "the front proxy names no user"
