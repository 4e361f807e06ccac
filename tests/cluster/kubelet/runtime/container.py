"""One container: a process tree under bubblewrap, its log, and how it ended.

`nsenter` puts bubblewrap into the pod's network namespace; bubblewrap makes the mount, PID, IPC and
UTS namespaces and starts the program as PID 1 of its own; it reports that process, and whether the
program was ever executed, on a status descriptor.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator

import msgspec

from tests.cluster.kubelet.runtime.child import Child, Pipe
from tests.cluster.kubelet.runtime.logfile import LogFile
from tests.cluster.kubelet.runtime.protocol import ContainerRecord, ContainerSpec, Exit, Output

_EXEC_OUTPUT_BYTES = 10 * 1024
"""The kubelet's limit for the output of probes and hooks."""
_DRAIN_SECONDS = 2.0
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Container:
    """A container that is being started, runs, or has ended.

    `network` is the path of the pod's namespace, None for the host's. Raises `OSError` when bubblewrap
    cannot be run.
    """

    def __init__(self, spec: ContainerSpec, *, network: str | None, log: LogFile) -> None:
        self._spec = spec
        self._log = log
        self._status = b""
        self._reported = asyncio.Event()
        self.finished = asyncio.Event()
        self._pipes = (
            Pipe(lambda data: log.write("stdout", data)),
            Pipe(lambda data: log.write("stderr", data)),
            Pipe(self._on_status, on_end=self._reported.set),
        )
        self.record = ContainerRecord(
            id=spec.id, pod=spec.pod, name=spec.name, attempt=spec.attempt, pid=0, started=time.time()
        )
        out, err, status = self._pipes
        enter = [] if network is None else ["nsenter", f"--net={network}", "--"]
        with _memory_file("\0".join(spec.options).encode()) as options:
            sandbox = ["bwrap", "--args", str(options), "--json-status-fd", str(status.child_end), "--"]
            try:
                self._child = Child(
                    [*enter, *sandbox, *spec.identity, *spec.command],
                    environment={"PATH": _SYSTEM_PATH},
                    stdout=out.child_end,
                    stderr=err.child_end,
                    inherit=(options, status.child_end),
                )
            except OSError:
                for pipe in self._pipes:
                    pipe.abandon()
                log.close()
                raise
        for pipe in self._pipes:
            pipe.begin()

    async def created(self) -> ContainerRecord:
        """The record, once the first process exists or could not be made (`pid` 0)."""
        await self._reported.wait()
        return self.record

    async def ended(self) -> Exit:
        """The end, after the last output is in the log file."""
        code = await self._child.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                for pipe in self._pipes:
                    await pipe.ended.wait()
        for pipe in self._pipes:
            pipe.close()
        self._log.close()
        output = self._log.tail
        # bubblewrap leaves the exit code out when the program was never executed.
        killed = bool(self.record.pid) and code == 128 + signal.SIGKILL
        if b'"exit-code"' in self._status or killed:
            return Exit(code=code, finished=time.time(), last_output=output)
        error = output.strip().removeprefix("bwrap: ") or f"bubblewrap exited with {code}"
        return Exit(code=128, finished=time.time(), error=error)

    def signal(self, number: int) -> None:
        """To the first process; SIGKILL takes the whole container with it."""
        if self.record.exit is None and self.record.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.record.pid, number)

    async def run(self, command: list[str], *, timeout: float) -> Output:
        """Runs a command in the container's namespaces, as its user, with its environment."""
        collected = bytearray()
        pipe = Pipe(lambda data: collected.extend(data[: _EXEC_OUTPUT_BYTES - len(collected)]))
        target = [f"--target={self.record.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        try:
            child = Child(
                ["/usr/bin/nsenter", *target, "--", *self._spec.identity, *command],
                environment=self._spec.environment,
                stdout=pipe.child_end,
                stderr=pipe.child_end,
            )
        except OSError:
            pipe.abandon()
            raise
        pipe.begin()
        try:
            async with asyncio.timeout(timeout):
                code = await child.wait()
        except TimeoutError:
            child.kill_session()
            code = await child.wait()
        finally:
            child.kill_session()
            pipe.drain()
        return Output(code=code, text=collected.decode(errors="replace"))

    def _on_status(self, data: bytes) -> None:
        self._status += data
        line, complete, _ = self._status.partition(b"\n")
        if complete and not self._reported.is_set():
            self.record.pid = int(msgspec.json.decode(line)["child-pid"])
            self._reported.set()


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[int]:
    """A descriptor to read `content` from; nothing of it touches a disk or a command line."""
    descriptor = os.memfd_create("options", 0)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
