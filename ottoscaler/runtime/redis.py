"""Where a Redis is and how to be let in, as configuration says it.

The adapter reads streams and lists, the orchestrator works a stream; both meet the same servers:
standalone, behind Sentinel, or a Cluster, with or without TLS, ACL users and passwords that rotate in
files. This module holds the settings and judges them; the client library is imported by
`runtime/redis_client.py`, and only where a queue needs it.
"""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

_URL = re.compile(
    r"(?P<scheme>rediss?)://(?:(?P<username>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<hosts>[^@/?#]+)"
    r"(?:/(?P<database>[0-9]{0,5}))?/?"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[^\]]+)?\]|[^\[\]:\s]+)(?::(?P<port>[0-9]{1,5}))?")


class Address(NamedTuple):
    """A server's host (a name, or an IP address without brackets) and port."""

    host: str
    port: int


class RedisURL(NamedTuple):
    """`redis[s]://[user[:password]@]host[:port][,host[:port]…][/database]`, taken apart."""

    tls: bool
    hosts: tuple[tuple[str, int | None], ...]
    database: int
    username: str | None
    password: str | None

    def addresses(self, *, default_port: int = DEFAULT_PORT) -> tuple[Address, ...]:
        """The servers in order; `default_port` where the URL names none."""
        return tuple(Address(host, default_port if port is None else port) for host, port in self.hosts)


class RedisTLS(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Certificates for a `rediss://` connection. Files are read anew for each connection."""

    ca_file: Path | None = None
    """PEM; trusted besides the system's own authorities."""
    cert_file: Path | None = None
    """PEM chain to present, where the server asks for one."""
    key_file: Path | None = None
    verify_hostname: bool = True
    """False where nodes of a Cluster or Sentinel announce addresses that their certificates do not name;
    the certificate itself is verified nonetheless."""

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: give both or none")


class RedisSentinel(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The servers of the URL are Sentinels; the one to read is the master they name."""

    master: str
    username: str | None = None
    """Of the Sentinels themselves, as are the passwords; those of the master stand beside the URL."""
    password_file: Path | None = None
    password_variable: str | None = None

    def __post_init__(self) -> None:
        if not self.master:
            raise ValueError("master is empty: name the master as the Sentinels do")
        _one_password(self.password_file, self.password_variable, None)


class RedisConnection(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One Redis to connect to. What has equal settings can share a connection."""

    url: str
    """Several hosts, separated by commas, where they are Sentinels or nodes of a Cluster."""
    username: str | None = None
    """Of an ACL user."""
    password_file: Path | None = None
    """Read for each connection, so that it may rotate; a line break at its end is not part of it."""
    password_variable: str | None = None
    """The environment variable that holds the password."""
    tls: RedisTLS | None = None
    sentinel: RedisSentinel | None = None
    cluster: bool = False

    def __post_init__(self) -> None:
        url = self.parsed
        _one_password(self.password_file, self.password_variable, url.password)
        if self.username is not None and url.username:
            raise ValueError("username is in the url as well: give it once")
        if (self.username or url.username) and not self._has_password:
            raise ValueError(
                "username has no password: add passwordFile, passwordVariable, or one in the url"
            )
        if self.tls is not None and not url.tls:
            raise ValueError("tls needs a url that begins with rediss://")
        if self.cluster and self.sentinel is not None:
            raise ValueError("cluster and sentinel exclude each other")
        if self.cluster and url.database:
            raise ValueError("url: a Redis Cluster has no database but 0")
        if len(url.hosts) > 1 and not self.cluster and self.sentinel is None:
            raise ValueError(
                "url names several hosts: say `cluster: true`, or name the master under `sentinel`"
            )

    @property
    def _has_password(self) -> bool:
        given = (self.password_file, self.password_variable, self.parsed.password)
        return any(each is not None for each in given)

    @property
    def parsed(self) -> RedisURL:
        """The URL's parts. Raises `ValueError`, which never repeats the URL: it may hold a password."""
        return parse_url(self.url)


def parse_url(url: str) -> RedisURL:
    """Raises `ValueError` in words for people that do not repeat the URL."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            f"url {_what_is_wrong(url)}: expected redis://host:port/database, or rediss:// for TLS"
        )
    username, password = match["username"], match["password"]
    return RedisURL(
        tls=match["scheme"] == "rediss",
        hosts=tuple(_host(text) for text in match["hosts"].split(",")),
        database=int(match["database"] or 0),
        username=unquote(username) if username else None,
        password=unquote(password) if password else None,
    )


def _what_is_wrong(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"redis", "rediss"}:
        return "has a scheme that is not known"
    if "?" in rest or "#" in rest:
        return "has options after a `?` or `#`, which are keys of their own here"
    if rest.count("@") > 1:
        return "has several `@`: write one that belongs to the password as %40"
    if not rest.rpartition("@")[2].partition("/")[0]:
        return "has no host"
    return "cannot be understood (a `/`, `:` or `@` in a password is written %2F, %3A, %40)"


def _host(text: str) -> tuple[str, int | None]:
    match = _HOST.fullmatch(text)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) <= 65535):
        raise ValueError("url has a host or port that cannot be: expected host:port, or [IPv6]:port")
    return match["host"].strip("[]"), int(match["port"]) if match["port"] else None


def _one_password(file: Path | None, variable: str | None, in_url: str | None) -> None:
    if sum(each is not None for each in (file, variable, in_url)) > 1:
        raise ValueError("the password is given twice: keep one of passwordFile, passwordVariable, the url")
