"""What the kubelet and the container runtime say to each other: one JSON line a message."""

from typing import Any

import msgspec


def socket_address(node: str) -> str:
    """The abstract socket of a node's runtime: it exists in the cluster's network namespace only."""
    return f"\0container-runtime-{node}"


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended."""

    code: int
    """128 + signal when a signal ended it, as a shell and containerd report it."""
    finished: float
    """Seconds since the epoch."""
    error: str | None = None
    """Why the program never ran (no such file, a mount that failed); None when it did run."""
    last_output: str = ""
    """The end of the log, for `terminationMessagePolicy: FallbackToLogsOnError`."""


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A container to start: one attempt of one container of a pod."""

    id: str
    pod: str
    """The pod's uid."""
    name: str
    attempt: int
    """Restart count at its start."""
    options: list[str]
    """bubblewrap options; they travel by a file descriptor, never on a command line."""
    command: list[str]
    identity: list[str]
    """A `setpriv` call that becomes the container's user; prefixed to the command and to execs."""
    environment: dict[str, str]
    log: str
    host_network: bool = False


class ContainerRecord(msgspec.Struct, kw_only=True):
    """A container that was started, and how it is."""

    id: str
    pod: str
    name: str
    attempt: int
    pid: int
    """Of its first process, in the cluster's PID namespace."""
    started: float
    exit: Exit | None = None


class SandboxRecord(msgspec.Struct, kw_only=True):
    """A pod's network namespace."""

    pod: str
    address: str


class Inventory(msgspec.Struct, kw_only=True):
    """Everything that the runtime holds."""

    sandboxes: list[SandboxRecord]
    containers: list[ContainerRecord]


class Output(msgspec.Struct, kw_only=True):
    """What a command inside a container gave back."""

    code: int
    text: str


class CreateSandbox(msgspec.Struct, tag=True, kw_only=True):
    """→ `SandboxRecord`; the existing one when there is one."""

    pod: str


class RemoveSandbox(msgspec.Struct, tag=True, kw_only=True):
    """Kills what still runs in the pod, then frees its address. Its containers stay on record."""

    pod: str


class ForgetPod(msgspec.Struct, tag=True, kw_only=True):
    """Removes the sandbox and every record of the pod."""

    pod: str


class StartContainer(msgspec.Struct, tag=True, kw_only=True):
    """→ `ContainerRecord`, once its first process exists."""

    spec: ContainerSpec


class SignalContainer(msgspec.Struct, tag=True, kw_only=True):
    """Signals the first process; nothing happens when it has ended."""

    id: str
    signal: int


class RunInContainer(msgspec.Struct, tag=True, kw_only=True):
    """→ `Output` of a command run as the container's user; killed after `timeout` seconds (code 137)."""

    id: str
    command: list[str]
    timeout: float


class TakeInventory(msgspec.Struct, tag=True, kw_only=True):
    """→ `Inventory`."""


Call = (
    CreateSandbox
    | RemoveSandbox
    | ForgetPod
    | StartContainer
    | SignalContainer
    | RunInContainer
    | TakeInventory
)


class Request(msgspec.Struct, kw_only=True):
    number: int
    call: Call


class Reply(msgspec.Struct, tag=True, kw_only=True):
    number: int
    result: Any = None
    error: str | None = None


class Exited(msgspec.Struct, tag=True, kw_only=True):
    """Sent to every connection, after the last line of the container's log is on disk."""

    id: str
    exit: Exit


Message = Reply | Exited
LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message: environments may hold whole Secrets."""
