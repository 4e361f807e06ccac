"""Changed content is noticed, also through the symlink swap of a mounted ConfigMap."""

import asyncio
from pathlib import Path

import pytest

from ottoscaler.runtime.files import changes


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
