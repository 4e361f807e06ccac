"""Changed content is noticed, also through the symlink swap of a mounted ConfigMap."""

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from ottoscaler.runtime import files
from ottoscaler.runtime.files import changes, fingerprint


async def _next(stream: "asyncio.Queue[None]") -> None:
    await asyncio.wait_for(stream.get(), 30)


@pytest.mark.looptime
async def test_a_symlink_swap_is_one_change(tmp_path: Path) -> None:
    for version, text in (("v1", "one"), ("v2", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    seen: asyncio.Queue[None] = asyncio.Queue()

    async def follow() -> None:
        async for _ in changes([tmp_path / "config.yaml"]):
            seen.put_nowait(None)

    task = asyncio.create_task(follow())
    await asyncio.sleep(5)
    assert seen.empty()

    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await _next(seen)
    await asyncio.sleep(5)
    assert seen.empty()

    (tmp_path / "config.yaml").unlink()
    await _next(seen)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.looptime
async def test_a_file_that_looks_the_same_is_not_read_and_one_that_changes_in_place_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("one")
    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)  # so that it was not written just now
    reads: list[int] = []

    def counted(paths: Iterable[Path]) -> bytes:
        reads.append(1)
        return fingerprint(paths)

    monkeypatch.setattr(files, "fingerprint", counted)
    seen: asyncio.Queue[None] = asyncio.Queue()

    async def follow() -> None:
        async for _ in changes([file]):
            seen.put_nowait(None)

    task = asyncio.create_task(follow())
    await asyncio.sleep(100)
    assert len(reads) == 1

    times = file.stat()
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    await _next(seen)
    assert len(reads) == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
