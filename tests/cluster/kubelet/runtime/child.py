"""Child processes without a thread each: a pidfd tells of the end, the loop reads the pipes.

asyncio's own children cost a waiting thread apiece on Python 3.11; a node has a thousand of them.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence

_CHUNK = 1 << 16


class Pipe:
    """Reads a pipe until its end, handing each piece to `sink`."""

    def __init__(self, sink: Callable[[bytes], None], *, on_end: Callable[[], None] | None = None) -> None:
        self._sink = sink
        self._on_end = on_end
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self.ended = asyncio.Event()

    @property
    def child_end(self) -> int:
        """The descriptor that the child gets."""
        return self._write

    def begin(self) -> None:
        """After the child has its end: closes ours and listens."""
        os.close(self._write)
        asyncio.get_running_loop().add_reader(self._read, self._readable)

    def abandon(self) -> None:
        """Instead of `begin`, when there is no child."""
        os.close(self._write)
        os.close(self._read)

    def _readable(self) -> None:
        try:
            data = os.read(self._read, _CHUNK)
        except BlockingIOError:
            return
        if data:
            self._sink(data)
        else:
            self.close()

    def drain(self) -> None:
        """Takes what is there already, then stops listening."""
        while not self.ended.is_set():
            try:
                data = os.read(self._read, _CHUNK)
            except BlockingIOError:
                data = b""
            if not data:
                self.close()
            else:
                self._sink(data)

    def close(self) -> None:
        """Stops listening, whether or not there is more."""
        if not self.ended.is_set():
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self.ended.set()
            if self._on_end is not None:
                self._on_end()


class Child:
    """A process in a session of its own. Raises `OSError` when it cannot be started."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        inherit: Iterable[int] = (),
    ) -> None:
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(inherit),
            start_new_session=True,
        )
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        if self._process.poll() is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set()

    async def wait(self) -> int:
        """The exit status; 128 + signal when a signal ended it."""
        await self._ended.wait()
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def kill_session(self) -> None:
        """SIGKILL to the child and what it started in its session."""
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
