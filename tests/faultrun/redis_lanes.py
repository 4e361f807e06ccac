"""Streams with a consumer group, who changes them, and what can happen to each where it lives.

A lane is one queue. Commands on its stream are repeated on a model, which knows what is true.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ottoscaler.adapter.sources.redis.settings import RedisSettings
from tests.faultrun.scene import Sign
from tests.faultrun.truth import Absent, Counted, Fact, TruthLog
from tests.faults.proxy import Fault, FaultProxy
from tests.redis.truth import Group, Stream

GROUP = "workers"
_RIGHTS = ("+multi", "+exec", "+role", "+xinfo|stream", "+xinfo|groups", "+xpending", "+xrange", "+xrevrange")
_LINGER = (0.0, 0.1, 0.4)
"""Seconds that a fault goes on after it was seen."""

Run = Callable[..., Awaitable[Any]]
"""One command on the server that holds the stream."""
Step = Callable[[], Awaitable[bool | None]]


@dataclass(frozen=True, slots=True)
class LaneFault:
    """`begin` says False when it could not happen just now."""

    begin: Step
    end: Step
    sign: Sign = Sign.FAILURE


async def nothing() -> None:
    """Some faults end by themselves."""


class Lane(ABC):
    """A stream on some server; subclasses know what can happen to that server."""

    def __init__(self, name: str, run: Run, rng: random.Random) -> None:
        self.name = name
        self.truth = TruthLog()
        self._run = run
        self._rng = rng
        self._stream = Stream(groups={GROUP: Group(0)})
        self._next = 0
        self._writing = asyncio.Lock()
        """Held by faults while nobody may write."""

    @abstractmethod
    def settings(self) -> RedisSettings:
        """How the adapter is told of it."""

    @abstractmethod
    def faults(self) -> Mapping[str, LaneFault]:
        """By name."""

    async def prepare(self) -> None:
        """Makes the stream and its group."""
        await self._run("XGROUP", "CREATE", self.name, GROUP, "0", "MKSTREAM")
        self.truth.begin(self._fact(), 0.0)

    async def write(self) -> None:
        """One command of a producer or a worker."""
        async with self._writing:
            command = self._rng.choice((self._add, self._add, self._take, self._finish, self._trim))()
            if command:
                await self._change(self._fact(), *command)

    async def linger(self) -> None:
        """The fault goes on for a while although everybody knows."""
        await asyncio.sleep(self._rng.choice(_LINGER))

    def _fact(self) -> Counted:
        return Counted(len(self._stream.waiting(GROUP)), len(self._stream.processing(GROUP)))

    async def _change(self, fact: Fact, *command: Any) -> None:
        """Runs a command that makes `fact` true."""
        self.truth.begin(fact, time.monotonic())
        await self._run(*command)
        await self._settle()
        self.truth.done(time.monotonic())

    async def _settle(self) -> None:  # noqa: B027 - most servers have no copies
        """Where copies of the stream are read, they have the change as well."""

    def _add(self) -> tuple[Any, ...]:
        if len(self._stream.entries) >= 60:
            return ()
        self._next += 1
        self._stream.entries.append(self._next << 64)
        return "XADD", self.name, f"{self._next}-0", "task_id", str(self._next)

    def _take(self) -> tuple[Any, ...]:
        self._stream.deliver(GROUP, "pod", 2, keep=True)
        return "XREADGROUP", "GROUP", GROUP, "pod", "COUNT", 2, "STREAMS", self.name, ">"

    def _finish(self) -> tuple[Any, ...]:
        pending = self._stream.groups[GROUP].pending
        ids = sorted(pending)[:2]
        for entry in ids:
            del pending[entry]
        return ("XACK", self.name, GROUP, *(f"{entry >> 64}-0" for entry in ids)) if ids else ()

    def _trim(self) -> tuple[Any, ...]:
        if len(self._stream.entries) <= 40:
            return ()
        self._stream.trim(10)
        return "XTRIM", self.name, "MAXLEN", len(self._stream.entries)

    async def _forget_group(self) -> None:
        """Until `_restore_group`, with the writers away."""
        await self._writing.acquire()
        await self._change(Absent(), "XGROUP", "DESTROY", self.name, GROUP)

    async def _restore_group(self) -> None:
        """It stands where it stood; what was in work is forgotten."""
        group = self._stream.groups[GROUP]
        group.pending.clear()
        at = f"{group.delivered >> 64}-0"
        await self._change(self._fact(), "XGROUP", "CREATE", self.name, GROUP, at)
        self._writing.release()


class ProxiedLane(Lane):
    """Behind a proxy and an ACL user of its own, so that its faults leave the others alone."""

    def __init__(self, name: str, run: Run, rng: random.Random, proxy: FaultProxy) -> None:
        super().__init__(name, run, rng)
        self._proxy = proxy

    def settings(self) -> RedisSettings:
        url = f"redis://{self.name}:secret@127.0.0.1:{self._proxy.port}"
        return RedisSettings(url=url, stream=self.name, group=GROUP)

    def faults(self) -> Mapping[str, LaneFault]:
        def network(fault: Fault) -> LaneFault:
            async def begin() -> None:
                await self._proxy.inflict(fault, after=self._rng.choice((0, 0, 3, 40, 300, 900)))

            return LaneFault(begin, self._proxy.heal)

        return {
            **{fault.value: network(fault) for fault in Fault},
            "NOPERM": LaneFault(self._forbid, self._allow),
            "WRONGPASS": LaneFault(self._change_password, self._allow),
            "NOGROUP": LaneFault(self._forget_group, self._restore_group),
            "no stream": LaneFault(self._hide, self._show),
            "WRONGTYPE": LaneFault(self._hide_behind_string, self._show),
        }

    async def prepare(self) -> None:
        await super().prepare()
        await self._allow()

    async def _allow(self) -> None:
        user = ("reset", "on", ">secret", f"~{self.name}", "-@all", *_RIGHTS)
        await self._run("ACL", "SETUSER", self.name, *user)

    async def _forbid(self) -> None:
        right = self._rng.choice(("-exec", "-xinfo", "-multi"))
        await self._run("ACL", "SETUSER", self.name, right)

    async def _change_password(self) -> None:
        await self._run("ACL", "SETUSER", self.name, "resetpass", ">other")
        await self._run("CLIENT", "KILL", "USER", self.name)

    async def _hide(self) -> None:
        await self._writing.acquire()
        await self._change(Absent(), "RENAME", self.name, f"{self.name}:away")

    async def _hide_behind_string(self) -> None:
        await self._hide()
        await self._run("SET", self.name, "a string")

    async def _show(self) -> None:
        await self._change(self._fact(), "RENAME", f"{self.name}:away", self.name)
        self._writing.release()
