"""What goes wrong with a database, in words for people.

The words reach people through the API: they name no address and no text of the database, which goes to the
log as the error's detail.
"""

import aiohttp

from ottoscaler.adapter.reading import FailureCode
from ottoscaler.adapter.sources.base import SourceError


class DatabaseRefused(SourceError):
    """An answer that is no success; `status` is HTTP's."""

    def __init__(self, status: int, reason: str, *, detail: str, code: FailureCode) -> None:
        super().__init__(reason, detail=detail, code=code)
        self.status = status


def refusal(status: int, text: str) -> DatabaseRefused:
    """What an HTTP error means to people; `text` is the database's, for the log."""
    reason, code = _meaning(status, text)
    return DatabaseRefused(status, reason, detail=f"HTTP {status}: {text}", code=code)


def _meaning(status: int, text: str) -> tuple[str, FailureCode]:
    match status:
        case 401 if "permission denied" in text.lower():
            return "its database's rules do not let this credential read the path", "forbidden"
        case 401:
            return "its database refused the credential", "unauthorized"
        case 403:
            return "its credential may not read the database: it needs a role such as Viewer", "forbidden"
        case 404:
            return "there is no such database: check databaseURL", "missing"
        case 402 | 429:
            return "its database limits reads for now", "limited"
        case 413:
            return "its node is too large to be read at once: keep a light node, see the docs", "invalid"
        case 423:
            return "its database is locked", "forbidden"
        case 400 | 405 | 406 | 415 | 422:
            return "its database did not understand the request", "invalid"
        case _ if status >= 500:
            return "its database is not available", "unreachable"
    return f"its database answered {status}", "error"


def unreachable(error: Exception) -> SourceError:
    """A connection that could not be made, or broke."""
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        return SourceError("its database does not answer in time", detail=detail, code="unreachable")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return SourceError("its database's certificate cannot be trusted", detail=detail, code="unreachable")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return SourceError("its database broke the connection", detail=detail, code="unreachable")
    return SourceError("its database cannot be reached", detail=detail, code="unreachable")


def too_large(max_bytes: int) -> SourceError:
    """The node has more bytes than are read."""
    return SourceError(
        f"its node has more than {max_bytes // 1024} KiB: give the path of a light node, or raise maxEventBytes",
        code="invalid",
    )


def no_database(detail: str) -> SourceError:
    """What answered does not speak the protocol."""
    return SourceError(
        "its database's answer makes no sense: is there a proxy between?", detail=detail, code="invalid"
    )
