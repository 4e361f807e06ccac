"""One `redis-server` process of a test's own, on a free loopback port."""

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.ports import free_port

_DEADLINE = 15.0


class RedisServer:
    """A server without persistence unless asked for. `with RedisServer() as server:` starts and ends it.

    `arguments` are as on the command line: `("--requirepass", "x")`. With `sentinel` it is one.
    """

    def __init__(
        self, *arguments: str, port: int | None = None, tls: bool = False, sentinel: str | None = None
    ) -> None:
        self.port = free_port() if port is None else port
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self._arguments = arguments
        self._tls = tls
        self._sentinel = sentinel
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Starts the process and waits until it accepts connections."""
        listen = ("--port", "0", "--tls-port", str(self.port)) if self._tls else ("--port", str(self.port))
        command = ["redis-server"]
        if self._sentinel is not None:
            config = self.directory / "sentinel.conf"
            if not config.exists():
                config.write_text(
                    f"port {self.port}\ndir {self.directory}\nbind 127.0.0.1\n{self._sentinel}\n"
                )
            command += [str(config), "--sentinel"]
        else:
            command += [
                *listen,
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.directory),
                "--save",
                "",
                "--repl-diskless-sync-delay",
                "0",
            ]
            command += ["--appendonly", "no", "--enable-debug-command", "yes", *self._arguments]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _DEADLINE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kills the process, as a machine that loses power does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stops the process where it is: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, **options: object) -> "redis.Redis":
        """A client of the library, which answers in bytes."""
        made: redis.Redis = redis.Redis(host="127.0.0.1", port=self.port, protocol=2, **options)  # type: ignore[arg-type]
        return made

    @contextlib.contextmanager
    def commands(self, **options: object) -> "Iterator[redis.Redis]":
        """A client that is closed at the end."""
        client = self.client(**options)
        try:
            yield client
        finally:
            client.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
