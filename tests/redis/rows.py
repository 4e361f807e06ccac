"""The situations of a stream in which `XINFO GROUPS` alone misleads, each as commands for a fresh server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.redis import BACKEND
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from tests.redis.server import RedisServer
from tests.sources import News, queue, read_once

STREAM, GROUP = "otto:scale:events", "ottoscaler"
Commands = Callable[["redis.Redis"], object]


@dataclass(frozen=True, slots=True)
class Row:
    """`true` is (waiting, processing), or None where nothing can be read."""

    situation: str
    commands: Commands
    true: tuple[int, int] | None
    missing: str = "error"


def _add(client: "redis.Redis", first: int, last: int) -> None:
    for number in range(first, last + 1):
        client.xadd(STREAM, {"task_id": f"task-{number}"}, id=f"{number}-0")


def _take(client: "redis.Redis", count: int, consumer: str = "pod-1") -> None:
    client.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=count)


def _five(client: "redis.Redis", *, taken: int = 0, group: bool = True) -> None:
    _add(client, 1, 5)
    if group:
        client.xgroup_create(STREAM, GROUP, "0")
    if taken:
        _take(client, taken)


def _trimmed(client: "redis.Redis", *, then_taken: int = 0) -> None:
    _five(client, taken=1)
    client.xtrim(STREAM, maxlen=1, approximate=False)
    if then_taken:
        _take(client, then_taken)


def _trimmed_then_added(client: "redis.Redis") -> None:
    _five(client, taken=1)
    client.xtrim(STREAM, maxlen=2, approximate=False)
    _take(client, 1)


def _deleted(client: "redis.Redis", *entries: int, taken: int) -> None:
    _five(client, taken=taken)
    client.xdel(STREAM, *(f"{entry}-0" for entry in entries))


def _deleted_next(client: "redis.Redis") -> None:
    _deleted(client, 4, taken=3)
    _take(client, 1)
    _add(client, 6, 6)


def _at_an_arbitrary_id(client: "redis.Redis") -> None:
    _add(client, 1, 5)
    client.xgroup_create(STREAM, GROUP, "2-0")


def _replayed(client: "redis.Redis") -> None:
    _five(client, taken=5)
    client.xack(STREAM, GROUP, *(f"{entry}-0" for entry in range(1, 6)))
    client.xgroup_setid(STREAM, GROUP, "2-0")


def _trimmed_while_held(client: "redis.Redis") -> None:
    _five(client, taken=3)
    client.xtrim(STREAM, maxlen=2, approximate=False)


def _set_id(client: "redis.Redis") -> None:
    _five(client, taken=2)
    untyped: Any = client
    untyped.execute_command("XSETID", STREAM, "9-0")


ROWS = (
    Row("stream missing", lambda client: None, None),
    Row("stream missing, `missing: empty`", lambda client: None, (0, 0), "empty"),
    Row("stream missing, `missing: create`", lambda client: None, (0, 0), "create"),
    Row("group missing", lambda client: _five(client, group=False), None),
    Row("group missing, `missing: empty`", lambda client: _five(client, group=False), (5, 0), "empty"),
    Row("group missing, `missing: create`", lambda client: _five(client, group=False), (5, 0), "create"),
    Row("5 added", lambda client: _five(client), (5, 0)),
    Row("2 of 5 taken", lambda client: _five(client, taken=2), (3, 2)),
    Row("1 of 5 taken, an undelivered one deleted", lambda client: _deleted(client, 4, taken=1), (3, 1)),
    Row("3 of 5 taken, the next deleted, 1 taken, 1 added", _deleted_next, (1, 4)),
    Row("group created at an arbitrary id", _at_an_arbitrary_id, (3, 0)),
    Row("all done, then XGROUP SETID back", _replayed, (3, 0)),
    Row("1 of 5 taken, then XTRIM MAXLEN 1", lambda client: _trimmed(client), (1, 0)),
    Row("then the rest is taken", lambda client: _trimmed(client, then_taken=1), (0, 1)),
    Row("1 of 5 taken, XTRIM MAXLEN 2, 1 taken", _trimmed_then_added, (1, 1)),
    Row("3 of 5 taken, then XTRIM MAXLEN 2", _trimmed_while_held, (2, 0)),
    Row(
        "3 of 5 taken, 2 of those deleted, not acknowledged",
        lambda client: _deleted(client, 1, 2, taken=3),
        (2, 1),
    ),
    Row("2 of 5 taken, then XSETID beyond the end", _set_id, (3, 2)),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Redis reported for a row, and what we read."""

    row: Row
    lag: str
    pending: str
    ours: News

    @property
    def is_right(self) -> bool:
        if self.row.true is None:
            return isinstance(self.ours, ReadFailure) and self.ours.code == "missing"
        return isinstance(self.ours, Reading) and (self.ours.waiting, self.ours.processing) == self.row.true


async def try_row(server: RedisServer, row: Row) -> Outcome:
    """Brings the server into the situation and asks both."""
    with server.commands() as client:
        client.flushall()
        row.commands(client)
        lag, pending = _reported(client)
    settings = RedisSettings(url=server.url, stream=STREAM, group=GROUP, missing=row.missing)  # type: ignore[arg-type]
    return Outcome(row, lag, pending, await read_once(BACKEND, queue("events", settings)))


def _reported(client: "redis.Redis") -> tuple[str, str]:
    """`lag` and the pending count of XINFO GROUPS."""
    try:
        groups: Any = client.xinfo_groups(STREAM)
    except redis.ResponseError as error:
        return f"`ERR {error}`", ""
    for group in groups:
        if group["name"] == GROUP.encode():
            return ("nil" if group["lag"] is None else str(group["lag"])), str(group["pending"])
    return "no such group", ""
