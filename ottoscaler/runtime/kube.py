"""The Kubernetes API as the few calls that this project makes of it.

Objects are the API's own JSON as dictionaries; paths are the API's own paths. That is all that
reviews, watches of a ConfigMap, leases and pods need, at a few hundred kilobytes; importing
`kubernetes.aio.client` costs 33 MiB and half a second in every process (docs/decisions/0001).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import aiohttp
import msgspec

from ottoscaler.runtime.kubeconfig import Access, load_access
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

Params = Mapping[str, str]
PatchKind = Literal["merge", "strategic", "json", "apply"]
WatchType = Literal["SYNC", "ADDED", "MODIFIED", "DELETED"]

_PATCH_TYPES: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
_WATCH_SECONDS = 290
"""The server ends a watch after this; the server's own minimum is 300 s to 600 s at random."""
_WATCH_SILENCE = 75.0
"""Bookmarks come about once a minute; a watch that says nothing for longer may be half open."""
_STREAM_BUFFER = 1 << 14
"""Of each stream: hundreds of logs are followed at once."""
_LINE_LIMIT = 16 * 1024 * 1024

log = get_logger("kube")


class KubeError(Exception):
    """The API server refused, or could not be reached (`status` 0).

    `reason` is the API's own machine-readable word (`NotFound`, `Conflict`, `AlreadyExists`, …).
    """

    def __init__(self, *, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds that the server asked to wait (429, 503)."""


class WatchEvent(NamedTuple):
    """What a watch saw. `SYNC` carries the list of all objects, after each (re)list."""

    type: WatchType
    object: Any
    version: str = ""
    """Of the list that a `SYNC` carries."""

    def predates(self, version: str) -> bool:
        """Whether this list is older than `version` of an object, and so cannot tell that the object is gone.

        Versions of one resource grow (KEP-5504); of any that is no number nothing is known, and the list counts.
        """
        both = (self.version, version)
        return all(each.isascii() and each.isdigit() for each in both) and int(version) > int(self.version)


class KubeClient:
    """An API server over one connection pool. Use as an async context manager."""

    def __init__(self, access: Access, *, timeout: float = 15.0) -> None:
        self._access = access
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=5.0)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=access.tls if access.tls is not None else True),
            timeout=self._timeout,
            skip_auto_headers=("User-Agent",),
            read_bufsize=1 << 18,
        )

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, *, context: str | None = None, timeout: float = 15.0
    ) -> Self:
        """A client for the pod's cluster or the kubeconfig's. Raises `KubeConfigError`; sends nothing yet."""
        return cls(await load_access(kubeconfig, context=context), timeout=timeout)

    @property
    def server(self) -> str:
        """The API server's base URL."""
        return self._access.server

    @property
    def namespace(self) -> str:
        """The namespace of the pod or of the kubeconfig's context."""
        return self._access.namespace

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection."""
        await self._session.close()

    async def get(self, path: str, params: Params | None = None) -> Any:
        """An object, or a list."""
        return await self._request("GET", path, params=params)

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        """POSTs `body` to a collection; the created object."""
        return await self._request("POST", path, body=body, params=params)

    async def replace(self, path: str, body: Any, params: Params | None = None) -> Any:
        """PUTs `body`; 409 `Conflict` when its resourceVersion is not the newest."""
        return await self._request("PUT", path, body=body, params=params)

    async def patch(
        self, path: str, body: Any, *, kind: PatchKind = "merge", params: Params | None = None
    ) -> Any:
        """Patches an object; `apply` wants `fieldManager` among the parameters."""
        return await self._request("PATCH", path, body=body, params=params, content_type=_PATCH_TYPES[kind])

    async def delete(self, path: str, body: Any = None, params: Params | None = None) -> Any:
        """Deletes an object or, given a selector, a collection; `body` is a `DeleteOptions`."""
        return await self._request("DELETE", path, body=body, params=params)

    async def _headers(self, content_type: str | None = None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "ottoscaler"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if token := await self._access.token():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Params | None = None,
        content_type: str = "application/json",
    ) -> Any:
        try:
            async with self._session.request(
                method,
                self._access.server + path,
                params=params,
                data=None if body is None else msgspec.json.encode(body),
                headers=await self._headers(None if body is None else content_type),
                server_hostname=self._access.server_hostname,
            ) as response:
                content = await response.read()
                if response.status >= 400:
                    raise _refusal(response, content)
                return msgspec.json.decode(content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(method, path, error) from error
        except msgspec.DecodeError as error:
            raise KubeError(status=0, reason="Malformed", message=f"{method} {path}: not JSON") from error

    async def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        """The body of a long answer (a pod's log) in the pieces in which it arrives."""
        try:
            async with self._session.get(
                self._access.server + path,
                params=params,
                headers=await self._headers(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0),
                read_bufsize=_STREAM_BUFFER,
                server_hostname=self._access.server_hostname,
            ) as response:
                if response.status >= 400:
                    raise _refusal(response, await response.read())
                try:
                    async for chunk in response.content.iter_any():
                        yield chunk
                finally:
                    _hang_up(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable("GET", path, error) from error

    async def watch(
        self, path: str, params: Params | None = None, *, backoff: Backoff | None = None
    ) -> AsyncIterator[WatchEvent]:
        """Lists, then watches, for ever: failures are logged and retried, a 410 lists again.

        Yields `SYNC` after every list. A watch that stays silent beyond the server's bookmarks is
        taken for dead and opened again from the last known version.
        """
        delays = backoff or Backoff(initial=0.2, maximum=10.0, rng=random.Random())  # noqa: S311
        base = dict(params or {})
        failing = False
        while True:
            try:
                listed = await self.get(path, base)
                version = listed["metadata"]["resourceVersion"]
                if failing:
                    failing = False
                    log.info("watch is back", path=path)
                yield WatchEvent("SYNC", listed.get("items") or [], version)
                delays.reset()
                while True:
                    opened = asyncio.get_running_loop().time()
                    async for event, seen in self._watch_once(path, base, version):
                        version = seen
                        if event is not None:
                            yield event
                    if asyncio.get_running_loop().time() - opened < 1.0:
                        await asyncio.sleep(delays.next())  # a server that hangs up at once is not hammered
            except KubeError as error:
                if error.status == 410:
                    continue
                if not failing:
                    failing = True
                    log.warning("watch failed, retrying", path=path, status=error.status, error=error)
                await asyncio.sleep(max(delays.next(), error.retry_after or 0.0))

    async def _watch_once(
        self, path: str, params: dict[str, str], version: str
    ) -> AsyncIterator[tuple[WatchEvent | None, str]]:
        query = params | {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            async with self._session.get(
                self._access.server + path,
                params=query,
                headers=await self._headers(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_WATCH_SILENCE),
                server_hostname=self._access.server_hostname,
            ) as response:
                if response.status >= 400:
                    raise _refusal(response, await response.read())
                try:
                    async for line in _lines(response.content):
                        event = msgspec.json.decode(line)
                        if event["type"] == "ERROR":
                            raise _watch_error(event["object"])
                        version = event["object"]["metadata"]["resourceVersion"]
                        bookmark = event["type"] == "BOOKMARK"
                        yield (None if bookmark else WatchEvent(event["type"], event["object"])), version
                finally:
                    _hang_up(response)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return  # silent for too long: open it again from `version`
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable("WATCH", path, error) from error
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise KubeError(status=0, reason="Malformed", message=f"WATCH {path}: garbled event") from error


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Ends a connection whose answer is not read to its end; one that was is left to the pool.

    Without TLS's goodbye, for which asyncio would wait 30 s when the server is dead.
    """
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length up to a cap: objects with managed fields outgrow aiohttp's line reader."""
    pending = bytearray()
    async for chunk in content.iter_any():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pending += chunk[start:end]
            start = end + 1
            if pending:
                yield bytes(pending)
                pending.clear()
        pending += chunk[start:]
        if len(pending) > _LINE_LIMIT:
            raise KubeError(status=0, reason="Malformed", message="a watch event is larger than 16 MiB")


def _refusal(response: aiohttp.ClientResponse, content: bytes) -> KubeError:
    reason, message = "", content[:500].decode(errors="replace")
    try:
        status = msgspec.json.decode(content)
        if isinstance(status, dict) and status.get("kind") == "Status":
            reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    except msgspec.DecodeError:
        pass
    try:
        retry_after = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    return KubeError(status=response.status, reason=reason, message=message, retry_after=retry_after)


def _watch_error(status: Any) -> KubeError:
    code = status.get("code", 0) if isinstance(status, dict) else 0
    detail = status if isinstance(status, dict) else {}
    return KubeError(
        status=int(code), reason=str(detail.get("reason", "")), message=str(detail.get("message", ""))
    )


def _unreachable(method: str, path: str, error: BaseException) -> KubeError:
    words = str(error) or type(error).__name__
    return KubeError(status=0, reason="Unreachable", message=f"{method} {path}: {words}")
