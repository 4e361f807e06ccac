"""Changed configuration, applied while serving.

The file is looked at every second (a ConfigMap changes by a symlink swap), and on SIGHUP. A good one is
applied without a gap; a bad one is refused as a whole, the old one stays, and the log, a metric and the
status page say so until it is repaired.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from ottoscaler.adapter.config.load import ConfigError, load
from ottoscaler.adapter.config.model import Config
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.files import changes
from ottoscaler.runtime.log import get_logger

log = get_logger("config")


class Reloader:
    """Keeps what runs in step with the file at `path`."""

    def __init__(
        self,
        config: Config,
        *,
        path: Path,
        environ: Mapping[str, str],
        apply: Callable[[Config], None],
        status: ReloadStatus,
        clock: Clock,
        interval: float = 1.0,
    ) -> None:
        """`interval` is in seconds, between two looks at the file."""
        self._config = config
        self._path = path
        self._environ = environ
        self._apply = apply
        self._status = status
        self._clock = clock
        self._interval = interval
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Somebody wants the file to be read again (SIGHUP)."""
        self._asked.set()

    async def run(self) -> None:
        """Follows the file until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            await asyncio.sleep(0)  # the watch has looked once; what changed before that is read now
            self._asked.set()
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self._reload()

    async def _watch(self) -> None:
        async for _ in changes([self._path], interval=self._interval, clock=self._clock):
            self._asked.set()

    async def _reload(self) -> None:
        try:
            config = await asyncio.to_thread(load, self._path, self._environ)
        except ConfigError as error:
            self._status.successful = False
            self._status.error = str(error)
            self._status.reloads["refused"] += 1
            log.warning("configuration refused, the old one stays in use", problems=str(error))
            return
        self._status.successful = True
        self._status.error = ""
        if config.digest == self._config.digest:
            log.debug("configuration is unchanged", hash=config.digest[:12])
            return
        self._apply(config)
        for block in ("api", "http", "log"):
            if getattr(config.root, block) != getattr(self._config.root, block):
                log.warning("this block takes effect at the next start", block=block)
        self._config = config
        self._status.hash = config.digest
        self._status.applied_at = self._clock.time()
        self._status.reloads["applied"] += 1
        log.info("configuration applied", hash=config.digest[:12], queues=len(config.queues))
