"""Noticing that mounted files changed.

A ConfigMap or Secret volume changes by a symlink swap that inotify on the file itself never sees,
and a poll of a few small files costs nothing, so content is compared, not events.
"""

import asyncio
import hashlib
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


async def changes(
    paths: Iterable[Path], *, interval: float = 1.0, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[None]:
    """Yields each time the content of any of `paths` differs from the last look, every `interval` seconds.

    The first look is taken before the first wait, so a change made after the call is never missed.
    """
    watched = tuple(paths)
    known = fingerprint(watched)
    while True:
        await clock.sleep(interval)
        current = await asyncio.to_thread(fingerprint, watched)
        if current != known:
            known = current
            yield
