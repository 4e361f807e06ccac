"""How commands reach the orchestrator's gRPC API, and how a call that failed becomes one line for people.

gRPC is imported when a call is made: no other command waits for it.
"""

import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate

import typer

from ottoscaler.cli.reporting import FAILED, WRONG_INPUT, fail
from ottoscaler.runtime.config import split_address
from ottoscaler.runtime.values import Duration, format_duration

if TYPE_CHECKING:
    import grpc.aio

    from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub

SERVER = "localhost:9090"
_MAX_MESSAGE = 64 * 1024 * 1024
_INPUT_CODES = frozenset({"INVALID_ARGUMENT", "ALREADY_EXISTS", "OUT_OF_RANGE"})
_NO_CONNECTION = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")

Server = Annotated[str, typer.Option(metavar="HOST:PORT", help="The orchestrator's gRPC address.")]
Timeout = Annotated[str, typer.Option(metavar="DURATION", help="How long the answer may take.")]
CaFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="TLS: the CA of the server's certificate, PEM.")
]
CertFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Mutual TLS: the certificate to present, PEM.")
]
KeyFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Mutual TLS: its key, PEM.")]
ServerName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="TLS: the name in the certificate, where HOST is another one."),
]


class CallError(Exception):
    """A call that failed: one line that says what, where and what to do.

    `passing`: the server is away or busy, and the same call may work later.
    """

    def __init__(self, message: str, *, status: int = FAILED, passing: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.passing = passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the orchestrator is and, for TLS, who it must be."""

    address: str
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    name: str | None = None

    @property
    def tls(self) -> bool:
        """The connection is encrypted as soon as there is anything to verify it by."""
        return self.ca is not None


def target(
    server: Server = SERVER,
    *,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    server_name: ServerName = None,
) -> Target:
    """What the options say; a mistake in them ends the command."""
    try:
        host, port = split_address(server)
    except ValueError as error:
        fail(f"--server: {error}", status=WRONG_INPUT)
    if not host or not port:
        fail(f"--server: {server!r} needs a host and a port: {SERVER}", status=WRONG_INPUT)
    if (cert_file is None) != (key_file is None):
        fail("--cert-file and --key-file belong together: give both or none", status=WRONG_INPUT)
    if ca_file is None and (cert_file is not None or server_name is not None):
        fail("--ca-file is missing: without the CA of the server there is no TLS", status=WRONG_INPUT)
    return Target(
        address=server,
        ca=_pem(ca_file, "--ca-file"),
        certificate=_pem(cert_file, "--cert-file"),
        key=_pem(key_file, "--key-file"),
        name=server_name,
    )


def connected(command: Callable[Concatenate[Target, ...], None]) -> Callable[..., None]:
    """The command with the options of `target` after its own, in place of its first parameter."""
    signature = inspect.signature(command)
    own = list(signature.parameters.values())[1:]
    connection = list(inspect.signature(target).parameters.values())
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *connection)]

    @functools.wraps(command)
    def with_options(**options: Any) -> None:
        to = target(**{parameter.name: options.pop(parameter.name) for parameter in connection})
        command(to, **options)

    # Typer looks at both, and neither may lead it back to the command itself.
    vars(with_options)["__signature__"] = signature.replace(parameters=parameters)
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del vars(with_options)["__wrapped__"]
    return with_options


def _pem(file: Path | None, option: str) -> bytes | None:
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        fail(f"{option}: {file} cannot be read: {error.strerror}", status=WRONG_INPUT)
    if b"-----BEGIN " not in content:  # gRPC would only say that it cannot connect
        fail(f"{option}: {file} is not in PEM form", status=WRONG_INPUT)
    return content


def seconds_of(text: str, *, option: str = "--timeout") -> float:
    """A duration of the command line in seconds; a mistake ends the command."""
    try:
        seconds = Duration.parse(text)
    except ValueError as error:
        fail(f"{option}: {error}", status=WRONG_INPUT)
    if seconds < 0.1:
        fail(f"{option}: is shorter than 100ms", status=WRONG_INPUT)
    return seconds


@asynccontextmanager
async def orchestrator(to: Target) -> AsyncIterator["OttoscalerServiceStub"]:
    """The API of the orchestrator; nothing is connected before the first call."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log repeats what the error says, in C++
    import grpc
    import grpc.aio

    from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub

    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if to.tls:
        if to.name is not None:
            options.append(("grpc.ssl_target_name_override", to.name))
        credentials = grpc.ssl_channel_credentials(to.ca, to.key, to.certificate)
        channel = grpc.aio.secure_channel(to.address, credentials, options)
    else:
        channel = grpc.aio.insecure_channel(to.address, options)
    async with channel:
        yield OttoscalerServiceStub(channel)


def explain(error: "grpc.aio.AioRpcError", to: Target, *, timeout: float) -> CallError:
    """The failure of a call in words for people."""
    code, details = error.code().name, " ".join((error.details() or "").split())
    match code:
        case "DEADLINE_EXCEEDED":
            return CallError(
                f"{to.address} did not answer within {format_duration(timeout)}: "
                "is it the orchestrator's gRPC port? A longer --timeout waits for longer"
            )
        case "UNIMPLEMENTED":
            return CallError(f"{to.address} does not know this call: is it the orchestrator's gRPC port?")
        case "UNAVAILABLE" if details.startswith(_NO_CONNECTION):
            reason, refused = _why_no_connection(details, to)
            return CallError(f"{to.address} cannot be reached: {reason}", passing=refused)
        case "UNAVAILABLE":
            return CallError(f"{to.address} cannot do this now: {details}", passing=True)
        case _ if code in _INPUT_CODES:
            return CallError(f"{to.address} refuses this: {details}", status=WRONG_INPUT)
        case _:
            return CallError(f"{to.address} answered {code}: {details}")


def _why_no_connection(details: str, to: Target) -> tuple[str, bool]:
    """The reason with what to do about it, and whether it may pass by itself."""
    if "WRONG_VERSION_NUMBER" in details:
        return "it does not speak TLS: leave --ca-file out", False
    if "CERTIFICATE_VERIFY_FAILED" in details:
        return "its certificate is not of the CA in --ca-file", False
    if "Hostname Verification" in details or "not match" in details or "Peer name" in details:
        return "its certificate is for another name: say which with --server-name", False
    if "http1.x" in details:
        return "it speaks HTTP/1: give the gRPC port (9090 unless configured otherwise)", False
    if "resolv" in details or "DNS" in details:
        return "its name cannot be resolved: check --server", False
    if "onnection refused" in details:
        return "nothing listens there: is the orchestrator running, and is --server right?", True
    if "Socket closed" in details or "reset" in details:
        return f"it closes the connection: {_wants(to)}", True
    return details.rpartition("last error: ")[2][:200], True


def _wants(to: Target) -> str:
    if not to.tls:
        return "does it want TLS (--ca-file)?"
    if to.certificate is None:
        return "does it want a client certificate (--cert-file)?"
    return "does it want another client certificate than that of --cert-file?"
