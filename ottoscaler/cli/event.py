"""`ottoscaler event`: one scaling event on the Redis stream, as a CI platform writes it."""

import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ottoscaler.cli.calls import seconds_of
from ottoscaler.cli.reporting import WRONG_INPUT, Output, OutputOption, fail, print_json, run
from ottoscaler.orchestrator.config.load import load
from ottoscaler.orchestrator.config.model import Events
from ottoscaler.orchestrator.events.entry import Entry, EntryId, read_order
from ottoscaler.orchestrator.orders import InvalidOrder
from ottoscaler.runtime.config import ConfigError
from ottoscaler.runtime.redis import RedisConnection
from ottoscaler.runtime.values import format_duration

app = typer.Typer(
    name="event",
    help="Scaling events on the Redis stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_MOST = 1000
_KNOWN = ("type", "pod_count", "task_id", "repository", "commit_sha", "triggered_by", "reason")


class Kind(StrEnum):
    """What an event asks for."""

    UP = "scale_up"
    DOWN = "scale_down"


@app.callback()
def _group() -> None:
    """Keeps `send` a command of its own while it is the only one."""


@app.command()
def send(
    kind: Annotated[Kind, typer.Option("--type", help="What is asked for.")] = Kind.UP,
    workers: Annotated[
        int, typer.Option(min=0, help="How many to create; with scale_down how many may remain.")
    ] = 1,
    task: Annotated[
        str | None, typer.Option(help="Whose; a new task when left out (needed with scale_down).")
    ] = None,
    repo: Annotated[str, typer.Option(help="The event's field `repository`.")] = "",
    sha: Annotated[str, typer.Option(help="The event's field `commit_sha`.")] = "",
    triggered_by: Annotated[str, typer.Option(help="The event's field of that name.")] = "",
    reason: Annotated[str, typer.Option(help="The event's field of that name.")] = "",
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Any other field; may be repeated.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="$REDIS_STREAM, or otto:scale:events, when left out.")
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(metavar="URL", help="redis:// or rediss://; $REDIS_HOST and $REDIS_PORT when left out."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Take Redis and the stream from the orchestrator's configuration instead."
        ),
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long Redis may take.")] = "5s",
    output: OutputOption = Output.TEXT,
) -> None:
    """Send one event (XADD). What the orchestrator would refuse is refused here, in the same words."""
    if kind is Kind.DOWN and task is None:
        fail("--task is missing: scale_down needs the task whose workers are to go", status=WRONG_INPUT)
    events, most = _place(redis, stream, config)
    fields = {
        "type": kind.value,
        "pod_count": str(workers),
        "task_id": task or f"task-{secrets.token_hex(4)}",
        **{
            name: value
            for name, value in (
                ("repository", repo),
                ("commit_sha", sha),
                ("triggered_by", triggered_by),
                ("reason", reason),
            )
            if value
        },
        **_extra(field or []),
    }
    _check(fields, most=most)
    entry = _send(events, fields, seconds_of(timeout))
    if output is Output.JSON:
        print_json({"id": entry, "stream": events.stream, "fields": fields})
    else:
        print(f"{entry} in {events.stream}: {kind} {workers}, task {fields['task_id']}")


def _place(redis: str | None, stream: str | None, config: Path | None) -> tuple[Events, int]:
    """Redis and the stream, and how many workers an event may ask for. A mistake ends the command."""
    if config is not None and (redis is not None or stream is not None):
        fail("give either --config, or --redis and --stream", status=WRONG_INPUT)
    try:
        if redis is not None:
            connection = RedisConnection(url=redis)
            name = stream or os.environ.get("REDIS_STREAM") or Events().stream
            return Events(redis=connection, stream=name), _MOST
        root = load(config, os.environ | ({} if stream is None else {"REDIS_STREAM": stream}))
    except ValueError as error:
        fail(f"--redis: {error}", status=WRONG_INPUT)
    except ConfigError as error:
        fail(str(error), status=WRONG_INPUT)
    if root.events is None:
        fail(f"{config or 'the environment'} configures no events: give --redis URL", status=WRONG_INPUT)
    return root.events, root.workers.max_per_request


def _extra(given: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            fail(f"--field {each[:60]!r}: write NAME=VALUE", status=WRONG_INPUT)
        if name in _KNOWN or name in fields:
            fail(f"--field {name}: is given already, or has an option of its own", status=WRONG_INPUT)
        fields[name] = value
    return fields


def _check(fields: Mapping[str, str], *, most: int) -> None:
    """Ends the command when the orchestrator would set the event aside."""
    encoded = {key.encode(): value.encode() for key, value in fields.items()}
    try:
        read_order(Entry(id=EntryId(0, 0), fields=encoded), source="", most=most)
    except InvalidOrder as error:
        fail(str(error), status=WRONG_INPUT)


def _send(events: Events, fields: Mapping[str, str], timeout: float) -> str:
    """The entry's id. A failure ends the command; no message repeats the URL, which may hold a password."""
    from ottoscaler.runtime.redis_client import REDIS_AWAY, client

    payload: dict[Any, Any] = dict(fields)

    async def work() -> str:
        async with client(events.redis, environ=os.environ, timeout=timeout) as redis:
            return str(await redis.xadd(events.stream, payload))

    try:
        return run(work())
    except REDIS_AWAY as error:
        where = ", ".join(f"{each.host}:{each.port}" for each in events.redis.parsed.addresses())
        fail(f"Redis at {where} {_trouble(error, timeout)}")


def _trouble(error: Exception, timeout: float) -> str:
    """What Redis did instead of taking the event."""
    from redis.exceptions import AuthenticationError, RedisClusterException, ResponseError
    from redis.exceptions import TimeoutError as RedisTimeout

    if isinstance(error, RedisClusterException) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what the last node that was tried said
    match error:
        case RedisTimeout() | TimeoutError():
            return f"did not answer within {format_duration(timeout)}: does it want rediss://?"
        case AuthenticationError():
            return f"does not let us in: {error}"
        case ResponseError():
            return f"refuses the event: {error}"
        case _:
            return f"cannot be reached: {_why(error)}"


def _why(error: Exception) -> str:
    """The reason with what to do about it; the library wraps what the system said in its own error."""
    match error.__cause__ or error.__context__ or error:
        case ConnectionRefusedError():
            return "nothing listens there: is Redis running, and is --redis right?"
        case socket.gaierror():
            return "its name cannot be resolved: check --redis"
        case ssl.SSLCertVerificationError() as refused:
            return (
                f"its certificate is not trusted ({refused.verify_message}): name the CA in a --config FILE"
            )
        case ssl.SSLError():
            return "it does not speak TLS: write redis://"
        case _:
            return " ".join(str(error).split())[:200]
