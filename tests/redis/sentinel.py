"""A master, a replica and three Sentinels that notice within a second that the master is gone."""

import contextlib
import time
from types import TracebackType
from typing import Any, Self

import redis

from tests.redis.server import RedisServer

MASTER = "main"


class SentinelSet:
    """`with SentinelSet() as redises:`; `url` names the Sentinels, `master()` the server that is it now."""

    def __init__(self, *, password: str = "") -> None:
        secret = ("--requirepass", password, "--masterauth", password) if password else ()
        first = RedisServer(*secret)
        second = RedisServer("--replicaof", "127.0.0.1", str(first.port), *secret)
        self.servers = (first, second)
        config = "\n".join(
            [
                f"sentinel monitor {MASTER} 127.0.0.1 {first.port} 2",
                f"sentinel down-after-milliseconds {MASTER} 700",
                f"sentinel failover-timeout {MASTER} 2000",
                f"sentinel parallel-syncs {MASTER} 1",
                *([f"sentinel auth-pass {MASTER} {password}"] if password else []),
            ]
        )
        self.sentinels = tuple(RedisServer(sentinel=config) for _ in range(3))
        self._password = password or None

    @property
    def url(self) -> str:
        return "redis://" + ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    def master(self) -> RedisServer:
        """The server that the Sentinels name."""
        with self.sentinels[0].commands() as client:
            found: Any = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER)  # type: ignore[no-untyped-call]
        return next(server for server in self.servers if server.port == int(found[1]))

    def fail_over(self) -> None:
        """Orders a failover, with the master alive."""
        with self.sentinels[0].commands() as client:
            client.execute_command("SENTINEL FAILOVER", MASTER)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        for server in (*self.servers, *self.sentinels):
            server.start()
        deadline = time.monotonic() + 20.0
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError("the Sentinels found neither each other nor the replica")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (*self.sentinels, *self.servers):
            server.__exit__(kind, error, trace)

    def _is_ready(self) -> bool:
        for sentinel in self.sentinels:
            with sentinel.commands() as client, contextlib.suppress(redis.RedisError):
                masters: Any = client.sentinel_masters()
                state = masters[MASTER]
                if state["num-slaves"] < 1 or state["num-other-sentinels"] < 2:
                    return False
        with self.servers[1].commands(password=self._password) as client:
            replication: Any = client.info("replication")
        return bool(replication["master_link_status"] == "up")
