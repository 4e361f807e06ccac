"""The `prometheus` block of a queue: which queries count it, and how their server is reached."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ottoscaler.adapter.config.names import RESERVED_LABELS

_LABEL = re.compile(r"[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?", re.ASCII)
_LONGEST_LABEL = 63
Query = Annotated[str, Meta(min_length=1, max_length=8192)]
"""PromQL that an instant query evaluates to a vector or a scalar."""


class BasicAuth(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A user, and the file that holds the password; it is read for each measurement, so it may rotate."""

    username: Annotated[str, Meta(min_length=1, max_length=256)]
    password_file: Path

    def __post_init__(self) -> None:
        if ":" in self.username or not self.username.isprintable():
            raise ValueError("username cannot have a colon or control characters")


class PrometheusTLS(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Certificates of an `https://` connection. Files that change are read anew."""

    ca_file: Path | None = None
    """PEM; trusted instead of the system's own authorities."""
    cert_file: Path | None = None
    """PEM chain to present, where the server asks for one."""
    key_file: Path | None = None
    server_name: Annotated[str, Meta(min_length=1, max_length=253)] | None = None
    """The name that the certificate must have, where it is not the host of the URL."""

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile are needed together")


class PrometheusSettings(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A queue whose jobs a Prometheus server, or what speaks its API, knows the number of."""

    url: str
    waiting: Query
    processing: Query | None = None
    oldest_waiting_seconds: Query | None = None
    """The age of the oldest waiting job; the greatest where there are several."""
    timestamp: Query | None = None
    """When the waiting jobs were counted, in seconds since the epoch; the least where there are several.
    Needed where `waiting` is more than a selector: a sum no longer knows when its parts were scraped."""
    keep_labels: Annotated[tuple[str, ...], Meta(max_length=10)] = ()
    """Labels of the samples by which the queue is served in parts, each with these labels of its own."""
    max_series: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Parts; a queue that has more is not served at all."""
    missing: Literal["error", "empty"] = "error"
    """What a query without any series means: a failure, or no jobs."""
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    tls: PrometheusTLS | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError("url is no URL") from None
        if parts.scheme not in ("http", "https") or not host or not self.url.isprintable():
            raise ValueError("url is no URL of a Prometheus server, such as http://prometheus:9090")
        if parts.username or parts.password:
            raise ValueError("url has a user or password: give them as basicAuth")
        if parts.query or parts.fragment:
            raise ValueError("url has parameters: give the address only, up to the path before /api/v1")
        if self.bearer_token_file is not None and self.basic_auth is not None:
            raise ValueError("bearerTokenFile and basicAuth exclude each other")
        if self.tls is not None and parts.scheme == "http":
            raise ValueError("tls is given, but url begins with http://")
        _check_kept(self.keep_labels)


def _check_kept(labels: Sequence[str]) -> None:
    for label in labels:
        if label in RESERVED_LABELS:
            raise ValueError(
                f"keepLabels: {label} is set by the adapter: rename the series' own by label_replace() in the query"
            )
        if not _LABEL.fullmatch(label) or len(label) > _LONGEST_LABEL:
            raise ValueError(
                f"keepLabels: {label[:80]!r} is no label of Prometheus that Kubernetes can select by: "
                "letters, digits and _, neither first nor last a _, up to 63"
            )
    if len(set(labels)) < len(labels):
        raise ValueError("keepLabels names a label twice")
