"""Access tokens for Google's databases: obtained by firebase-admin's credentials, kept until they grow stale.

Only `refresh()` of a credential is ever called, in a thread: it is one request to the token endpoint, where
`before_request()` would begin further calls of its own. The credential is made anew for each refresh, so a
service-account file that was replaced counts from then on. Nothing of Google's is imported for an emulator.
"""

import asyncio
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.runtime.clock import Clock

SCOPES = (
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/firebase.database",
)
STALE_BEFORE_END = 225.0
"""Seconds before its end from which google-auth no longer calls a token fresh."""
_REQUEST_SECONDS = 4.0


class AccessToken(NamedTuple):
    """A bearer token. Times are of the monotonic clock."""

    value: str
    stale_at: float
    """From then on a new one is asked for; infinite for one that does not end."""
    ends_at: float

    def renewal(self, rng: random.Random) -> float:
        """When to open a stream anew: after `stale_at`, some way before the end, not all at once."""
        if math.isinf(self.stale_at):
            return self.stale_at
        return self.stale_at + rng.uniform(0.0, 0.5) * (self.ends_at - self.stale_at)


class TokenSource(Protocol):
    """Gives out the current token of a database."""

    async def get(self) -> AccessToken:
        """A token that is not stale. Raises `SourceError`."""
        ...

    def reject(self, token: AccessToken) -> None:
        """The database refused `token`: the next `get` asks for another."""
        ...

    async def close(self) -> None:
        """Ends what is under way."""
        ...


class OwnerToken:
    """What the emulators take; there is nothing to renew."""

    _TOKEN = AccessToken("owner", math.inf, math.inf)

    async def get(self) -> AccessToken:
        return self._TOKEN

    def reject(self, token: AccessToken) -> None:
        """A refused owner stays the owner."""

    async def close(self) -> None:
        """Nothing ever is under way."""


class Fetched(NamedTuple):
    """What a token endpoint said."""

    value: str
    lifetime: float
    """Seconds from now; infinite where it does not end."""


class GoogleToken:
    """The token of a service-account file, or of the application-default credentials."""

    def __init__(self, fetch: Callable[[], Fetched], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: AccessToken | None = None
        self._refreshing: asyncio.Task[AccessToken] | None = None

    @classmethod
    def of(cls, key_file: Path | None, clock: Clock) -> "GoogleToken":
        """The token of the file, of the environment when there is none."""
        return cls(partial(fetch_token, key_file), clock)

    async def get(self) -> AccessToken:
        """One refresh at a time, whoever asks; the others wait for its result.

        Whoever gives up waiting does not end it: queues that share a slow endpoint would else begin it anew
        in turn, each with too little time left, and none would ever have a token.
        """
        if self._token is not None and self._clock.monotonic() < self._token.stale_at:
            return self._token
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)
        return await asyncio.shield(self._refreshing)

    async def _refresh(self) -> AccessToken:
        fetched = await asyncio.to_thread(self._fetch)
        now = self._clock.monotonic()
        margin = min(STALE_BEFORE_END, fetched.lifetime / 2)
        return AccessToken(fetched.value, now + fetched.lifetime - margin, now + fetched.lifetime)

    def _refreshed(self, task: "asyncio.Task[AccessToken]") -> None:
        """Nobody may be there to hear of an error: who asks next will try again."""
        self._refreshing = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])

    def reject(self, token: AccessToken) -> None:
        if self._token == token:
            self._token = None


def fetch_token(key_file: Path | None) -> Fetched:
    """Asks the token endpoint, blocking. Raises `SourceError` without anything secret in it."""
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    credential = _credential(key_file)
    with Request().session as session:
        try:
            credential.refresh(partial(Request(session), timeout=_REQUEST_SECONDS))
        except exceptions.TransportError as error:
            raise SourceError(
                "Google's token endpoint cannot be reached", detail=str(error), code="unreachable"
            ) from None
        except exceptions.GoogleAuthError as error:
            raise SourceError(
                "its credential was refused: check the service account and its key, and this pod's clock",
                detail=str(error),
                code="unreachable" if error.retryable else "unauthorized",
            ) from None
    expiry: datetime | None = credential.expiry
    lifetime = math.inf
    if expiry is not None:
        lifetime = max(1.0, (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
    return Fetched(credential.token, lifetime)


def _credential(key_file: Path | None) -> Any:
    """A credential of google-auth with the scopes of the database."""
    from firebase_admin import credentials
    from google.auth.exceptions import GoogleAuthError

    try:
        if key_file is not None:
            return credentials.Certificate(str(key_file)).get_credential().with_scopes(SCOPES)
        credential = credentials.ApplicationDefault().get_credential()
    except OSError as error:
        raise SourceError(
            "its service-account file cannot be read", detail=str(error), code="unauthorized"
        ) from None
    except ValueError as error:
        raise SourceError(
            "its service-account file is not one", detail=str(error), code="unauthorized"
        ) from None
    except GoogleAuthError as error:
        raise SourceError(
            "there are no credentials: set serviceAccountFile, or application-default credentials",
            detail=str(error),
            code="unauthorized",
        ) from None
    return credential.with_scopes(SCOPES) if getattr(credential, "requires_scopes", False) else credential
