"""Bearer tokens, judged by the API server and remembered for a few seconds.

The memory holds a keyed digest of a token, never the token. Good and bad answers live in caches of their
own, so that a flood of bad tokens evicts no good one.
"""

import hashlib
import secrets
from typing import Any, Final

from cachetools import TTLCache

from ottoscaler.apiservice.identity import (
    AuthenticatorUnavailable,
    Headers,
    Identity,
    Unauthenticated,
    User,
    extra_of,
)
from ottoscaler.apiservice.request_header import with_general_group
from ottoscaler.apiservice.reviews import Reviewer, ReviewError
from ottoscaler.apiservice.shared_calls import SharedCalls
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

GOOD_SECONDS: Final = 10.0
BAD_SECONDS: Final = 5.0
_CACHED: Final = 1024


def bearer_token(headers: Headers) -> str | None:
    """The token of `Authorization: Bearer …`, by the rules of k8s' bearertoken.go; None: there is none.

    What is not ASCII is no token (RFC 6750, b64token) and could not even be asked about.
    """
    parts = headers.get("Authorization", "").strip().split(" ", 2)
    if len(parts) < 2 or parts[0].lower() != "bearer" or not parts[1].isascii():
        return None
    return parts[1] or None


class TokenAuthenticator:
    """Says whose token it is."""

    def __init__(self, review: Reviewer, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._review = review
        self._key = secrets.token_bytes(32)
        self._good: TTLCache[bytes, Identity] = TTLCache(_CACHED, GOOD_SECONDS, clock.monotonic)
        self._bad: TTLCache[bytes, str] = TTLCache(_CACHED, BAD_SECONDS, clock.monotonic)
        self._asked: SharedCalls[Identity] = SharedCalls()

    def cached(self, token: str) -> Identity | None:
        """Whose it was a moment ago."""
        try:
            return self._good[self._digest(token)]
        except KeyError:
            return None

    async def authenticate(self, token: str) -> Identity:
        """Whose it is. Raises `Unauthenticated` or `AuthenticatorUnavailable`."""
        digest = self._digest(token)
        known = self._good.get(digest)
        if known is not None:
            return known
        refusal = self._bad.get(digest)
        if refusal is not None:
            raise Unauthenticated(refusal, reason="token")
        return await self._asked(digest, lambda: self._ask(digest, token))

    async def _ask(self, digest: bytes, token: str) -> Identity:
        try:
            status = await self._review({"token": token})
        except ReviewError as error:
            raise AuthenticatorUnavailable(str(error)) from error
        try:
            identity = Identity(user=_reviewed_user(status), method="token")
        except Unauthenticated as refusal:
            self._bad[digest] = str(refusal)
            raise
        self._good[digest] = identity
        return identity

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), digest_size=16, key=self._key).digest()


def _reviewed_user(status: dict[str, Any]) -> User:
    user = status.get("user")
    if status.get("authenticated") is not True or not isinstance(user, dict) or not user.get("username"):
        # The reviewer's own error text may quote the token.
        raise Unauthenticated("the API server does not know this bearer token", reason="token")
    return with_general_group(
        User(
            name=str(user["username"]),
            uid=str(user.get("uid") or ""),
            groups=tuple(user.get("groups") or ()),
            extra=extra_of(user.get("extra") or {}),
        )
    )
