"""What a process holds, counted before and after."""

import asyncio
import contextlib
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.waiting import until

_T = TypeVar("_T")
_TO_LET_GO = 5.0
"""Seconds that gRPC and closing connections may take."""


@dataclass(frozen=True, slots=True)
class Possessions:
    """All but memory must be the same after as before."""

    tasks: int
    threads: int
    sockets: int
    files: int
    """Descriptors that are no sockets."""
    objects: int
    """That the garbage collector knows."""
    rss_mib: float

    @classmethod
    def now(cls) -> "Possessions":
        gc.collect()
        links = [link for entry in Path("/proc/self/fd").iterdir() if (link := _link(entry))]
        sockets = sum(link.startswith("socket:") for link in links)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            sockets=sockets,
            files=len(links) - sockets,
            objects=len(gc.get_objects()),
            rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        )

    def beyond(self, before: "Possessions") -> list[str]:
        """What there is more of than before; memory is judged by who reads the figures."""
        names = ("tasks", "threads", "sockets", "files")
        more = {name: getattr(self, name) - getattr(before, name) for name in names}
        return [f"{count} {name}" for name, count in more.items() if count > 0]


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:  # the descriptor with which the directory was read
        return ""


async def with_threads_of_its_own(work: Callable[[], Awaitable[_T]]) -> _T:
    """Runs `work` with an executor that ends with it, so that its threads can be counted as left over or not."""
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor()
    loop.set_default_executor(executor)
    try:
        return await work()
    finally:
        loop.set_default_executor(ThreadPoolExecutor())
        executor.shutdown()


async def settled(before: Possessions) -> Possessions:
    """What is still held when all had time to let go."""
    with contextlib.suppress(AssertionError):
        await until(lambda: not Possessions.now().beyond(before), within=_TO_LET_GO, every=0.05)
    return Possessions.now()
