"""The `firebase` block of a queue, and where its requests go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta
from yarl import URL

from ottoscaler.runtime.values import Duration

EMULATOR_VARIABLE = "FIREBASE_DATABASE_EMULATOR_HOST"
DEFAULT_PATH = "requestedJobs/eventstorming_generator"
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,62})", re.IGNORECASE)
_FORBIDDEN_IN_KEYS = re.compile(r"[.$#\[\]\x00-\x1f\x7f]")
_MIB = 1024 * 1024
_LARGEST_ANSWER = 256 * _MIB
"""The database itself refuses to serve more at once."""


class FirebaseSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One node of a Realtime Database whose children are jobs."""

    database_url: str = msgspec.field(name="databaseURL")
    path: str = DEFAULT_PATH
    mode: Literal["stream", "poll"] = "stream"
    service_account_file: Path | None = None
    """Application-default credentials when absent."""
    read_timeout: Duration = Duration(75)
    """A stream that is silent for longer is dead: two and a half of the database's keep-alives."""
    max_event_bytes: Annotated[
        int, Meta(ge=1024, le=16 * 1024 * _MIB, description="The largest answer or event that is read.")
    ] = _LARGEST_ANSWER

    def __post_init__(self) -> None:
        endpoint_of(self.database_url, {})
        if any(not key or _FORBIDDEN_IN_KEYS.search(key) for key in self.keys):
            raise ValueError(
                f"path {self.path[:80]!r} is no path of a database: its keys are not empty and hold none of . $ # [ ]"
            )
        if self.read_timeout < 1:
            raise ValueError("readTimeout is shorter than 1s")

    @property
    def keys(self) -> tuple[str, ...]:
        """The path as keys; none for the root."""
        path = self.path.strip("/")
        return tuple(path.split("/")) if path else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a database is served."""

    base: URL
    namespace: str | None
    """The `ns` parameter, where the host does not say it."""
    is_emulator: bool
    """It takes `Bearer owner`, and no credential is ever sent to it."""

    @lru_cache(maxsize=4096)  # noqa: B019 - endpoints are few, and equal ones share
    def url(self, keys: tuple[str, ...]) -> URL:
        """The REST address of a node, with `ns` where the host does not say it."""
        *parents, last = keys or ("",)
        url = self.base
        for key in parents:
            url /= key
        url /= f"{last}.json"
        return url if self.namespace is None else url.with_query(ns=self.namespace)


def endpoint_of(database_url: str, environ: Mapping[str, str]) -> Endpoint:
    """Where `database_url` is served, by the rules of firebase-admin. Raises `ValueError` for people.

    `http://HOST:PORT/?ns=NAME` is an emulator; with FIREBASE_DATABASE_EMULATOR_HOST=HOST:PORT every
    database is, under the first label of its host name.
    """
    try:
        parts = urlsplit(database_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"databaseURL {_quote(database_url)} is no URL") from None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise ValueError(
            f"databaseURL {_quote(database_url)} is no URL of a database, such as https://NAME.firebaseio.com"
        )
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError("databaseURL has a path: give the path of the node as `path`")
    namespace = _namespace_in(parts.query)
    emulator = environ.get(EMULATOR_VARIABLE)
    if parts.scheme == "http":
        if namespace is None:
            raise ValueError(
                "databaseURL must begin with https://; an emulator's is http://HOST:PORT/?ns=NAME"
            )
        return Endpoint(base=URL(f"http://{parts.netloc}/"), namespace=namespace, is_emulator=True)
    if emulator:
        if "/" in emulator:
            raise ValueError(f"{EMULATOR_VARIABLE} must be HOST:PORT")
        label = namespace or host.partition(".")[0]
        return Endpoint(base=URL(f"http://{emulator}/"), namespace=label, is_emulator=True)
    return Endpoint(base=URL(f"https://{parts.netloc}/"), namespace=namespace, is_emulator=False)


def _namespace_in(query: str) -> str | None:
    names = parse_qs(query, keep_blank_values=True)
    if not names:
        return None
    values = names.pop("ns", [])
    if names or len(values) != 1 or not _NAMESPACE.fullmatch(values[0]):
        raise ValueError("databaseURL may have one parameter, ns=NAME, and no other")
    return values[0]


def _quote(url: str) -> str:
    """The URL without what could be a password."""
    return repr(re.sub(r"//[^/@]*@", "//***@", url)[:80])
