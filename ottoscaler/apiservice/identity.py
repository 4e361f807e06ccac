"""Who asks, for what, and who says so: the border between serving a request and judging it.

The server hands each request's `Connection` and headers to an `Authenticator`, and the resulting user
with the request's `Attributes` to an `Authorizer`. Both have a fast path that answers from memory
without a coroutine, because all but one request in thousands is a repetition; the slow path may ask
the Kubernetes API. Nothing here knows how either decides.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec
from multidict import CIMultiDictProxy

Headers = CIMultiDictProxy[str]
"""A request's header fields: names without case, several values for a name possible (`getall`)."""

Method = Literal["front-proxy", "client-certificate", "token", "standalone"]
"""How a caller proved who it is; a label of the authentication metrics."""


class User(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """A caller as Kubernetes knows it; hashable, so it can be (part of) the key of a cache."""

    name: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of key and values, sorted by key (`extra_of` makes it from a mapping)."""
    uid: str = ""


def extra_of(fields: Mapping[str, "list[str] | tuple[str, ...]"]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`fields` as `User.extra` wants them."""
    return tuple((key, tuple(fields[key])) for key in sorted(fields))


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A user, and what proved it. Return the same object for the same caller: it is compared by identity
    first wherever it keys a cache."""

    user: User
    method: Method


class Attributes(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True, gc=False):
    """What a request wants to do, as a SubjectAccessReview names it.

    A resource request has a `resource`; any other is judged by its `path` (`resource` is None and the
    fields below it are empty). `verb` follows k8s.io/apiserver/pkg/endpoints/request/requestinfo.go:
    a GET of a resource without an object name is `list`; on other paths it is the lower-case method.
    """

    verb: str
    path: str
    """The decoded path without the query."""
    resource: str | None = None
    """The metric's name, for an external metric."""
    group: str = ""
    version: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Connection:
    """What is known of a TLS connection for as long as it lasts; `ServerTls.connection` makes it.

    `path` is the certification path of the peer's certificate as the TLS handshake *verified* it (DER,
    leaf first, trust anchor last), empty when the peer presented none. What the peer merely sent never
    goes in here: the authenticator believes that each certificate is signed by the next. `verified` is the
    authenticator's to use: it caches there what it made of the path, together with whatever tells it that
    the conclusion is out of date.
    """

    __slots__ = ("path", "remote", "verified")

    def __init__(self, *, path: tuple[bytes, ...] = (), remote: str = "") -> None:
        self.path = path
        self.remote = remote
        """The peer's address, for the log."""
        self.verified: object = None


class Unauthenticated(Exception):
    """Nobody that we know (401). The text is for the log, never for the answer.

    `reason` is a label of the authentication metrics: few values, none of them from the request.
    """

    def __init__(self, text: str, *, reason: Literal["none", "token", "certificate"] = "none") -> None:
        super().__init__(text)
        self.reason = reason


class AuthenticatorUnavailable(Exception):
    """A credential that cannot be checked now (503). The text is for the log."""


class AuthorizerUnavailable(Exception):
    """A right that cannot be checked now (503), which never means allowed. The text is for the log."""


class Decision(NamedTuple):
    """An authorizer's answer; `reason` is shown to the caller when it is a refusal."""

    allowed: bool
    reason: str = ""


class Authenticator(Protocol):
    """Says who sends a request."""

    def cached(self, connection: Connection, headers: Headers) -> Identity | None:
        """The caller, when memory suffices to say so; None: ask `authenticate`. Called for every request."""
        ...

    async def authenticate(self, connection: Connection, headers: Headers) -> Identity:
        """The caller. Raises `Unauthenticated` or `AuthenticatorUnavailable`."""
        ...


class Authorizer(Protocol):
    """Says whether a user may do something."""

    def cached(self, user: User, attributes: Attributes) -> Decision | None:
        """The decision, when memory holds a fresh one; None: ask `authorize`. Called for every request."""
        ...

    async def authorize(self, user: User, attributes: Attributes) -> Decision:
        """The decision. Raises `AuthorizerUnavailable`."""
        ...
