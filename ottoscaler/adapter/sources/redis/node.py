"""One Redis server and the connection to it."""

import contextlib
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from ottoscaler.adapter.sources.redis.problems import ServerProblem, is_about_server, of_server
from ottoscaler.runtime.redis import Address


class Node:
    """One server, connected when needed."""

    __slots__ = ("_make", "_opened", "address", "session")

    def __init__(self, address: Address, make: Callable[[Address], Connection]) -> None:
        self.address = address
        self.session = 0
        """Grows with each connection: what was learned in an earlier one may be of another server."""
        self._make = make
        self._opened: Connection | None = None

    async def connection(self) -> Connection:
        """The open connection; a new one where the server ended the last. Raises `ServerProblem`."""
        if self._opened is not None and await self._is_spoiled(self._opened):
            await self.close()
        if self._opened is None:
            opening: Any = self._make(self.address)  # untyped in the library
            try:
                await opening.connect()
            except (RedisError, OSError, TimeoutError, ValueError) as error:
                await _end(opening)
                raise ServerProblem(of_server(error)) from error
            except BaseException:
                await _end(opening)
                raise
            self._opened = opening
            self.session += 1
        return self._opened

    async def close(self) -> None:
        """Ends the connection, whatever state it is in."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await _end(opened)

    async def _is_spoiled(self, connection: Connection) -> bool:
        """Whether it was closed, or holds data that nobody asked for."""
        try:
            return await connection.can_read()
        except (RedisError, OSError):
            return True


async def _end(connection: Connection) -> None:
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        await connection.disconnect(nowait=True)


async def call(connection: Connection, *command: str) -> Any:
    """One command by itself. Raises `ResponseError`, and `ServerProblem` when the connection broke."""
    try:
        await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        if is_about_server(error):
            raise ServerProblem(of_server(error)) from error
        raise
    except (RedisError, OSError) as error:
        raise ServerProblem(of_server(error)) from error
