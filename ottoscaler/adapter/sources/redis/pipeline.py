"""Many transactions in one go over one connection.

All are written before the first answer is read, so a thousand streams cost one round trip. Each is a
MULTI/EXEC of its own: its replies are of one moment, and an error in one leaves the others alone. Replies
are read strictly in order; whatever is not an answer to what was asked ends the connection, because after
that no number on it could be trusted.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from ottoscaler.adapter.sources.redis.problems import Problem, ServerProblem, is_about_server, of_server
from ottoscaler.adapter.sources.redis.survey import Command

Replies = list[Any] | RedisError
"""What the commands of a transaction got, an error in the place of a single one's reply; or the error for
which the server did not run it at all."""

_pack: Callable[[Command], bytes] = pack_command  # type: ignore[assignment]  # its stub means tuples of one
_BREATH = 8
"""Transactions after which other tasks get their turn: half a millisecond."""


async def exchange(
    connection: Connection,
    transactions: Sequence[Sequence[Command]],
    *,
    asking: bool = False,
    must_be_master: bool = False,
) -> AsyncGenerator[Replies, None]:
    """The replies to each transaction, in order. `asking` is said before each: a Cluster's slot is moving.

    Raises `ServerProblem` when the connection breaks or the server as a whole cannot be believed: it
    refuses, or it is a replica that has lost its master, or any replica with `must_be_master`. What was
    yielded before stays true.
    """
    try:
        await connection.send_packed_command(_pack(("ROLE",)), check_health=False)
        for start in range(0, len(transactions), _BREATH):
            packed = [_packed(each, asking=asking) for each in transactions[start : start + _BREATH]]
            await connection.send_packed_command(packed, check_health=False)
            await asyncio.sleep(0)
        await _check_role(connection, must_be_master=must_be_master)
        for number, transaction in enumerate(transactions):
            if number % _BREATH == 0:
                await asyncio.sleep(0)
            if asking:
                _expect_ok(await connection.read_response(disable_decoding=True))
            yield await _transaction(connection, len(transaction))
    except (RedisError, OSError, TimeoutError) as error:
        raise ServerProblem(of_server(error)) from error


def _packed(transaction: Sequence[Command], *, asking: bool) -> bytes:
    commands: list[Command] = [("MULTI",), *transaction, ("EXEC",)]
    return b"".join(map(_pack, [("ASKING",), *commands] if asking else commands))


async def _check_role(connection: Connection, *, must_be_master: bool) -> None:
    try:
        reply = await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        if is_about_server(error):
            raise
        return  # not a right that every user has, nor a command that every service offers
    match reply:
        case [b"master", *_]:
            return
        case [b"slave", _, _, state, *_]:
            if must_be_master:
                raise ServerProblem(
                    Problem("unreachable", "Sentinel names a Redis that is no master (any more)")
                )
            if state != b"connected":
                raise ServerProblem(Problem("unreachable", "the Redis replica has lost its master"))
            return
    raise ServerProblem(out_of_step("no role of a Redis server"))


async def _transaction(connection: Connection, commands: int) -> Replies:
    refusals: list[ResponseError] = []
    for number in range(
        1 + commands
    ):  # MULTI, and what it queues: seven thousand a tick, so all in one place
        try:
            _expect_ok(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            if number == 0 and not is_about_server(error):
                await _skip(connection, commands + 1)  # without MULTI each ran by itself, and EXEC failed
                return error
            refusals.append(error)
    try:
        replies = await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        refusals.append(error)  # EXECABORT, which only says that there was an error before
        replies = None
    if refusals:
        if is_about_server(refusals[0]):
            raise refusals[0]
        return refusals[0]
    if not isinstance(replies, list) or len(replies) != commands:
        raise ServerProblem(out_of_step("not as many replies as commands"))
    return replies


async def _skip(connection: Connection, replies: int) -> None:
    for _ in range(replies):
        with suppress(ResponseError):
            await connection.read_response(disable_decoding=True)


def _expect_ok(reply: Any) -> None:
    if reply != b"QUEUED" and reply != b"OK":
        raise ServerProblem(out_of_step("a reply where an acknowledgement belongs"))


def out_of_step(detail: str) -> Problem:
    """Answers that do not fit the questions: the connection must go."""
    return Problem("invalid", "what answers is no Redis, or garbles its answers", detail)
