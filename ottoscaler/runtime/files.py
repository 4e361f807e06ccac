"""Noticing that mounted files changed.

A ConfigMap or Secret volume changes by a symlink swap that inotify on the file itself never sees,
and a poll of a few small files costs nothing, so content is compared, not events; and only where
the file's number, size or times differ, since a content is read in a thread.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock


def fingerprint(paths: Iterable[Path]) -> bytes:
    """A digest of the files' contents, in order; a file that cannot be read counts as absent."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            digest.update(b"absent;")
            continue
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return digest.digest()


_FRESH_NS = 2_000_000_000
"""A file that was changed so recently may change again without a new time."""


def _looks(paths: Iterable[Path]) -> tuple[tuple[int, ...], ...] | None:
    """What cannot stay when a content changes; None when too fresh to tell."""
    found: list[tuple[int, ...]] = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - a thousandth of what a thread would cost
        except OSError:
            found.append(())
            continue
        if time.time_ns() - status.st_ctime_ns < _FRESH_NS:
            return None
        found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(found)


async def changes(
    paths: Iterable[Path], *, interval: float = 1.0, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[None]:
    """Yields each time the content of any of `paths` differs from the last look, every `interval` seconds.

    The first look is taken before the first wait, so a change made after the call is never missed.
    """
    watched = tuple(paths)
    looks, known = _looks(watched), fingerprint(watched)  # in this order: a change in between is seen
    while True:
        await clock.sleep(interval)
        former, looks = looks, _looks(watched)
        if looks is not None and looks == former:
            continue
        current = await asyncio.to_thread(fingerprint, watched)
        if current != known:
            known = current
            yield
