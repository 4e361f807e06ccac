"""Connections to Redis, made from `runtime/redis.py` by the client library.

Importing this imports the library, so only what talks to a Redis does. The adapter takes single
connections (`connection`), because it sends a thousand transactions in one go and must know at which
server each answer broke off; the orchestrator takes a client with the library's commands (`client`).
Nothing here retries: who runs a connection knows how long to wait, and a second layer of retries would
hide what people need to see.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError

from ottoscaler.runtime.redis import DEFAULT_SENTINEL_PORT, Address, RedisConnection, RedisTLS

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster


REDIS_AWAY = (RedisError, RedisClusterException, OSError)
"""What commands raise while Redis does not answer, or refuses: of a Cluster's errors some are no `RedisError`."""


class CredentialsUnavailable(AuthenticationError):
    """A password that should be in a file or variable is not; the message names which, never the password."""


class _Credentials(CredentialProvider):
    """A user and a password that is looked up for each connection, since files rotate."""

    def __init__(
        self,
        *,
        username: str | None,
        password: str | None,
        file: Path | None,
        variable: str | None,
        environ: Mapping[str, str],
    ) -> None:
        self._username = username
        self._password = password
        self._file = file
        self._variable = variable
        self._environ = environ

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._look_up()
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return await asyncio.to_thread(self.get_credentials)

    def _look_up(self) -> str:
        if self._file is not None:
            try:
                return self._file.read_text().removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise CredentialsUnavailable(f"password file {self._file}: {reason}") from None
        if self._variable is not None:
            if not self._environ.get(self._variable):
                raise CredentialsUnavailable(f"environment variable {self._variable} is not set")
            return self._environ[self._variable]
        return self._password or ""


def connection(
    settings: RedisConnection, address: Address, *, environ: Mapping[str, str], connect_timeout: float
) -> Connection:
    """A connection to one server, not yet opened: `await connection.connect()`, `.disconnect()`.

    It waits for answers for ever; the caller sets deadlines. `connect_timeout` is seconds.
    """
    kind = SSLConnection if settings.parsed.tls else Connection
    arguments = _arguments(settings, environ) | {"socket_timeout": None}
    return kind(
        host=address.host,
        port=address.port,
        db=settings.parsed.database,
        socket_connect_timeout=connect_timeout,
        **arguments,
    )


def sentinel_connection(
    settings: RedisConnection, address: Address, *, environ: Mapping[str, str], connect_timeout: float
) -> Connection:
    """As `connection`, to one of the Sentinels."""
    kind = SSLConnection if settings.parsed.tls else Connection
    arguments = _sentinel_arguments(settings, environ)
    return kind(
        host=address.host,
        port=address.port,
        socket_timeout=None,
        socket_connect_timeout=connect_timeout,
        **arguments,
    )


@asynccontextmanager
async def client(
    settings: RedisConnection,
    *,
    environ: Mapping[str, str],
    timeout: float = 5.0,
    health_check_interval: float = 0.0,
    decode_responses: bool = True,
) -> AsyncIterator["Redis | RedisCluster"]:
    """A client with the library's commands: of the server, of the master that Sentinel names, or of the Cluster.

    `timeout` (seconds) bounds connecting and each answer, so blocking commands must ask for less.
    Connections idle for `health_check_interval` seconds are pinged before use. All is closed at the end.
    Raises `REDIS_AWAY` where a Cluster cannot be discovered.
    """
    # the library's commands, which single connections do without: 5 MiB
    from redis.asyncio import Redis, RedisCluster, Sentinel
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.sentinel import SentinelConnectionPool

    url = settings.parsed
    common: dict[str, Any] = _arguments(settings, environ) | {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": health_check_interval,
        "decode_responses": decode_responses,
    }
    if url.tls:
        common["ssl"] = True
    async with AsyncExitStack() as stack:
        if settings.cluster:
            nodes = [ClusterNode(host, port) for host, port in url.addresses()]
            yield await stack.enter_async_context(RedisCluster(startup_nodes=nodes, **common))
        elif settings.sentinel is not None:
            make_sentinel: Any = Sentinel  # untyped in the library, as is the pool
            manager = make_sentinel(
                url.addresses(default_port=DEFAULT_SENTINEL_PORT),
                sentinel_kwargs=_sentinel_arguments(settings, environ)
                | {"ssl": url.tls, "socket_timeout": timeout, "socket_connect_timeout": timeout},
            )
            await stack.enter_async_context(manager)
            make_pool: Any = SentinelConnectionPool
            pool = make_pool(settings.sentinel.master, manager, db=url.database, **common)
            yield await stack.enter_async_context(Redis.from_pool(pool))
        else:
            (address,) = url.addresses()
            redis = Redis(host=address.host, port=address.port, db=url.database, **common)
            yield await stack.enter_async_context(redis)


def _arguments(settings: RedisConnection, environ: Mapping[str, str]) -> dict[str, Any]:
    url = settings.parsed
    credentials = _credentials(
        username=settings.username or url.username,
        password=url.password,
        file=settings.password_file,
        variable=settings.password_variable,
        environ=environ,
    )
    return _basics(credentials) | (_tls_arguments(settings.tls or RedisTLS()) if url.tls else {})


def _sentinel_arguments(settings: RedisConnection, environ: Mapping[str, str]) -> dict[str, Any]:
    if settings.sentinel is None:
        raise ValueError("these settings name no Sentinel")
    credentials = _credentials(
        username=settings.sentinel.username,
        password=None,
        file=settings.sentinel.password_file,
        variable=settings.sentinel.password_variable,
        environ=environ,
    )
    arguments = _basics(credentials)
    if settings.parsed.tls:
        arguments |= _tls_arguments(settings.tls or RedisTLS())
    return arguments


def _basics(credentials: CredentialProvider | None) -> dict[str, Any]:
    return {
        "credential_provider": credentials,
        "driver_info": None,  # `CLIENT SETINFO` is one more command that a narrow ACL would have to allow
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }


def _credentials(
    *,
    username: str | None,
    password: str | None,
    file: Path | None,
    variable: str | None,
    environ: Mapping[str, str],
) -> CredentialProvider | None:
    if username is None and password is None and file is None and variable is None:
        return None
    return _Credentials(username=username, password=password, file=file, variable=variable, environ=environ)


def _tls_arguments(tls: RedisTLS) -> dict[str, Any]:
    return {
        "ssl_ca_certs": None if tls.ca_file is None else str(tls.ca_file),
        "ssl_certfile": None if tls.cert_file is None else str(tls.cert_file),
        "ssl_keyfile": None if tls.key_file is None else str(tls.key_file),
        "ssl_check_hostname": tls.verify_hostname,
    }
