"""Requests to one Realtime Database: its address, its token, its redirects and its errors.

Two things differ from an ordinary HTTP client. A redirect (307, to the server that holds the database) must
take the token along, which is safe only where it stays in Google's own domains. And a 401 is answered by a
new token once, then reported.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firebase_errors import DatabaseRefused, refusal, unreachable
from ottoscaler.adapter.sources.firebase_settings import Endpoint
from ottoscaler.adapter.sources.firebase_token import AccessToken, TokenSource

_GOOGLE = (".firebaseio.com", ".firebasedatabase.app")
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 307, 308})
_ERROR_BYTES = 2048


class RestDatabase:
    """A database as its REST protocol. Several queues share one, with its token and its connections."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        tokens: TokenSource,
        *,
        on_refused_token: Callable[[tuple[str, ...]], None] = lambda keys: None,
    ) -> None:
        self._session = session
        self.on_refused_token = on_refused_token
        """Told the node for which a token was refused and another is asked for."""
        self._endpoint = endpoint
        self._tokens = tokens

    def reject(self, token: AccessToken) -> None:
        """The database said that the token is no longer good."""
        self._tokens.reject(token)

    @asynccontextmanager
    async def get(
        self,
        keys: tuple[str, ...],
        *,
        headers: Mapping[str, str],
        opened_within: float | None = None,
        silent_for: float | None = None,
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, AccessToken]]:
        """A 200 or 304, its body unread, and the token it was got with. Raises `SourceError`.

        `opened_within` bounds everything up to the answer's headers, `silent_for` the time between two
        pieces of it (seconds). Errors while the body is read are turned into `SourceError`s as well.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_read=silent_for)
        try:
            async with asyncio.timeout(opened_within):
                response, token = await self._get(keys, headers, timeout)
            try:
                yield response, token
            finally:
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(error) from error

    async def _get(
        self, keys: tuple[str, ...], headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> tuple[aiohttp.ClientResponse, AccessToken]:
        for attempt in (1, 2):
            token = await self._tokens.get()
            try:
                return await self._follow(self._endpoint.url(keys), headers, token, timeout), token
            except DatabaseRefused as refused:
                if refused.status != 401 or attempt == 2:
                    raise
                self._tokens.reject(token)
                self.on_refused_token(keys)
        raise AssertionError("both attempts return or raise")

    async def _follow(
        self, url: URL, headers: Mapping[str, str], token: AccessToken, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {**headers, "Authorization": f"Bearer {token.value}"}
        for _ in range(_MOST_REDIRECTS + 1):
            response = await self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False)
            if response.status in (200, 304):
                return response
            try:
                if response.status not in _REDIRECTS:
                    raise refusal(response.status, await _error_text(response))
                url = _target(url, response.headers.get("Location", ""))
            finally:
                response.close()
        raise SourceError("its database redirects for ever", code="invalid")


def _target(origin: URL, location: str) -> URL:
    """Where a redirect leads. Raises `SourceError` when the token must not go there."""
    try:
        target = origin.join(URL(location))
    except ValueError:
        raise SourceError("its database redirects to no address", code="invalid") from None
    host = target.host or ""
    stays = target.scheme == origin.scheme and host == origin.host
    if stays or (target.scheme == "https" and host.endswith(_GOOGLE)):
        return target
    raise SourceError(
        "its database redirects to a host that its token must not be sent to",
        detail=f"redirect from {origin.host} to {target.scheme}://{host}",
        code="invalid",
    )


async def _error_text(response: aiohttp.ClientResponse) -> str:
    """The start of an error's text: `{"error": "…"}` unwrapped, else as it is."""
    body = await response.content.read(_ERROR_BYTES)
    text = body.decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text
