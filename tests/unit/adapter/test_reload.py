"""A changed file is applied while serving; a bad one is refused whole and said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ottoscaler.adapter import reload
from ottoscaler.adapter.config.load import load
from ottoscaler.adapter.config.model import Config
from ottoscaler.adapter.reload import Reloader
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from tests.waiting import until

ONE = "queues: [{name: one, fake: {}}]\n"
TWO = "queues: [{name: one, fake: {}}, {name: two, fake: {}}]\n"
BAD = "queues:\n  - name: one\n    fak: {}\n"


class Watched:
    """A configuration file, and what was applied of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[list[str]] = []
        clock = SYSTEM_CLOCK
        config = load(path, {})
        self.status = ReloadStatus(hash=config.digest, applied_at=clock.time())
        self.reloader = Reloader(
            config,
            path=path,
            environ={},
            apply=self._apply,
            status=self.status,
            clock=clock,
            interval=0.01,
        )

    def _apply(self, config: Config) -> None:
        self.applied.append([queue.name for queue in config.queues])


@asynccontextmanager
async def watching(path: Path, text: str = ONE) -> AsyncIterator[Watched]:
    if not path.is_symlink():
        path.write_text(text)
    watched = Watched(path)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watched.reloader.run())
        yield watched
        running.cancel()


async def test_a_good_file_is_applied(tmp_path: Path) -> None:
    async with watching(tmp_path / "config.yaml") as watched:
        before = watched.status.hash
        watched.path.write_text(TWO)
        await until(lambda: watched.applied == [["one", "two"]])
        await until(lambda: watched.status.reloads["applied"] == 1)
        assert watched.status.hash != before
        assert watched.status.successful


async def test_a_bad_file_is_refused_with_its_line_until_it_is_repaired(tmp_path: Path) -> None:
    async with watching(tmp_path / "config.yaml") as watched:
        before = watched.status.hash
        watched.path.write_text(BAD)
        await until(lambda: not watched.status.successful)
        assert watched.status.error.startswith(
            f'{watched.path}:3: queues[0].fak: unknown key, did you mean "fake"?'
        ) or watched.status.error.startswith(f"{watched.path}:2: queues[0]: has no backend")
        assert watched.applied == []
        assert watched.status.hash == before
        watched.path.write_text(ONE)
        await until(lambda: watched.status.successful)
        assert watched.status.error == ""
        assert watched.applied == [], "the old one was never left"


async def test_a_file_that_vanishes_changes_nothing(tmp_path: Path) -> None:
    async with watching(tmp_path / "config.yaml") as watched:
        watched.path.unlink()
        await until(lambda: not watched.status.successful)
        assert watched.status.error.endswith("cannot be read: No such file or directory")
        assert watched.applied == []


async def test_a_config_map_changes_by_a_symlink_swap(tmp_path: Path) -> None:
    for name, text in (("first", ONE), ("second", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    data, path = tmp_path / "..data", tmp_path / "config.yaml"
    data.symlink_to("first")
    path.symlink_to("..data/config.yaml")
    async with watching(path) as watched:
        (tmp_path / "new").symlink_to("second")
        (tmp_path / "new").rename(data)
        await until(lambda: watched.applied == [["one", "two"]])


async def test_a_change_between_the_first_reading_and_the_first_look_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(ONE)
    watched = Watched(path)
    path.write_text(TWO)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watched.reloader.run())
        await until(lambda: watched.applied == [["one", "two"]])
        running.cancel()


class Warnings:
    """Takes what is logged, and keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def warning(self, text: str, **more: Any) -> None:
        self.said.append((text, more.get("block")))

    def info(self, text: str, **more: Any) -> None:
        pass


async def test_what_takes_effect_at_the_next_start_only_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = Warnings()
    monkeypatch.setattr(reload, "log", warnings)
    async with watching(tmp_path / "config.yaml") as watched:
        watched.path.write_text(
            'api: {address: "0.0.0.0:1"}\nhttp: {address: "0.0.0.0:2"}\nlog: {level: debug}\n' + TWO
        )
        await until(lambda: watched.status.reloads["applied"] == 1)
    said = "this block takes effect at the next start"
    assert warnings.said == [(said, "api"), (said, "http"), (said, "log")]
