"""Waking up when something happens in a directory: what follows a log must neither poll nor be late."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_MODIFY, _IN_CREATE, _IN_MOVED = 0x2, 0x100, 0xC0
_IN_NONBLOCK, _IN_CLOEXEC = 0o4000, 0o2000000
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class DirectoryWatcher:
    """One inotify descriptor for the process. Raises `OSError` when the kernel has no more."""

    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
        self._listeners: dict[int, set[asyncio.Event]] = {}
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    @contextmanager
    def watching(self, directory: Path) -> Iterator[asyncio.Event]:
        """The event is set whenever a file of the directory grows, comes or is renamed."""
        mask = _IN_MODIFY | _IN_CREATE | _IN_MOVED
        # Watching a directory twice gives the same number, so listeners share it.
        number = _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(directory), mask))
        changed = asyncio.Event()
        self._listeners.setdefault(number, set()).add(changed)
        try:
            yield changed
        finally:
            others = self._listeners[number]
            others.discard(changed)
            if not others:
                del self._listeners[number]
                _libc.inotify_rm_watch(
                    self._descriptor, number
                )  # fails when the directory is gone: no matter

    def _readable(self) -> None:
        data = os.read(self._descriptor, 1 << 16)
        at = 0
        while at < len(data):
            number, _mask, _cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            for changed in self._listeners.get(number, ()):
                changed.set()


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
