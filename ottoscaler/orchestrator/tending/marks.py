"""What a leader must know of the work of the one before: how far logs were taken, what was told.

One ConfigMap in the workers' namespace, a short entry a worker, written behind: what was told is merged
within a quarter of a second, how far logs were taken every two seconds, and everything at the end. A
leader that dies without warning repeats at most that much to the handler, under the same numbers.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ottoscaler.orchestrator.kube_api import Kube, config_maps_path
from ottoscaler.orchestrator.lifecycle import Stage
from ottoscaler.orchestrator.logs.lines import Position
from ottoscaler.orchestrator.naming import MANAGED_BY
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("marks")

NAME = "ottoscaler-marks"
_SOON = 0.25
_LATER = 2.0
_MOST = 4000
"""Entries, of about 150 bytes: an object may have 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is known of one worker besides its pod."""

    told: Stage | None = None
    """The newest transition that the handler acknowledged."""
    position: Position | None = None
    """How far its log was taken."""
    lines: int = 0
    """How many lines that was, dropped ones included."""
    task_id: str = ""
    end: Stage | None = None
    """How it ended, when its pod had to be removed before the handler could be told."""
    why: str = ""


class _Entry(msgspec.Struct, omit_defaults=True):
    told: int = -1
    at: int = 0
    repeats: int = 0
    lines: int = 0
    task: str = ""
    end: int = -1
    why: str = ""


class Marks:
    """The marks of all workers by pod name. `load` first; `run` writes behind; `flush` at the end."""

    def __init__(self, kube: Kube, namespace: str, *, clock: Clock) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self._marks: dict[str, Mark] = {}
        self._soon: set[str] = set()
        self._later: set[str] = set()
        self._writing: set[str] = set()
        self._written = asyncio.Event()
        """Set, and replaced, after each write."""

    def get(self, pod: str) -> Mark:
        """The worker's mark; an empty one when nothing is known."""
        return self._marks.get(pod, Mark())

    def names(self) -> tuple[str, ...]:
        """The pods of which something is known."""
        return tuple(self._marks)

    def told(self, pod: str, stage: Stage, task_id: str) -> None:
        """The handler has acknowledged that the worker came to `stage`."""
        short = task_id if len(task_id) <= 128 else ""
        if self._set(pod, replace(self.get(pod), told=stage, task_id=short)):
            self._soon.add(pod)

    def ended(self, pod: str, stage: Stage, why: str) -> None:
        """The worker came to `stage`, and the handler may not know it when its pod is removed."""
        mark = self.get(pod)
        if (mark.told is None or not mark.told.final) and self._set(
            pod, replace(mark, end=stage, why=why[:200])
        ):
            self._soon.add(pod)

    async def written(self, pod: str) -> None:
        """Returns when the API has all that is known of `pod`."""
        if pod in self._later:
            self._later.remove(pod)
            self._soon.add(pod)
        while pod in self._soon or pod in self._writing:
            await self._written.wait()

    def taken(self, pod: str, position: Position | None, lines: int) -> None:
        """The handler has taken the log up to `position`."""
        mark = self.get(pod)
        if self._set(pod, replace(mark, position=position or mark.position, lines=max(lines, mark.lines))):
            self._later.add(pod)

    def forget(self, pod: str) -> None:
        """The worker is gone and all is told."""
        if self._marks.pop(pod, None) is not None:
            self._later.add(pod)

    def _set(self, pod: str, mark: Mark) -> bool:
        """False when there are too many: then a restart may repeat; the workers themselves lose nothing."""
        if pod not in self._marks and len(self._marks) >= _MOST:
            return False
        self._marks[pod] = mark
        return True

    async def load(self) -> None:
        """Reads what was written before. Raises `KubeError`."""
        try:
            found = await self._kube.get(config_maps_path(self._namespace, NAME))
        except KubeError as error:
            if error.status != 404:
                raise
            body = {"metadata": {"name": NAME, "labels": dict(MANAGED_BY)}}
            await self._kube.create(config_maps_path(self._namespace), body)
            found = {}
        self._marks = {
            pod: mark
            for pod, text in (found.get("data") or {}).items()
            if (mark := _decode(text)) is not None
        }
        self._soon.clear()
        self._later.clear()

    async def run(self) -> None:
        """Writes what has changed, until cancelled."""
        failing = False
        flushed = self._clock.monotonic()
        while True:
            await self._clock.sleep(_SOON)
            if self._clock.monotonic() - flushed >= _LATER:
                flushed = self._clock.monotonic()
                self._soon |= self._later
                self._later = set()
            try:
                await self._write()
                failing = False
            except KubeError as error:
                if not failing:
                    failing = True
                    log.warning("marks cannot be written, trying again", error=error)

    async def flush(self) -> None:
        """Writes all that has changed. Raises `KubeError`."""
        self._soon |= self._later
        self._later = set()
        await self._write()

    async def _write(self) -> None:
        changed, self._soon = self._soon, set()
        if not changed:
            return
        self._writing = changed
        data = {pod: _encode(self._marks[pod]) if pod in self._marks else None for pod in changed}
        try:
            await self._kube.patch(config_maps_path(self._namespace, NAME), {"data": data})
        except KubeError as error:
            self._soon |= changed
            if error.status == 404:
                await self._create_again()
            else:
                raise
        finally:
            self._writing = set()
            self._written.set()
            self._written = asyncio.Event()

    async def _create_again(self) -> None:
        """Somebody deleted it."""
        body = {
            "metadata": {"name": NAME, "labels": dict(MANAGED_BY)},
            "data": {pod: _encode(mark) for pod, mark in self._marks.items()},
        }
        await self._kube.create(config_maps_path(self._namespace), body)
        self._soon.clear()


def _encode(mark: Mark) -> str:
    entry = _Entry(
        told=-1 if mark.told is None else mark.told.value,
        at=mark.position.at if mark.position else 0,
        repeats=mark.position.repeats if mark.position else 0,
        lines=mark.lines,
        task=mark.task_id,
        end=-1 if mark.end is None else mark.end.value,
        why=mark.why,
    )
    return msgspec.json.encode(entry).decode()


def _decode(text: Any) -> Mark | None:
    """None for what was not written by us."""
    try:
        entry = msgspec.json.decode(text, type=_Entry)
        told = None if entry.told < 0 else Stage(entry.told)
        end = None if entry.end < 0 else Stage(entry.end)
    except (msgspec.DecodeError, ValueError, TypeError):
        return None
    position = Position(entry.at, entry.repeats) if entry.at else None
    return Mark(told=told, position=position, lines=entry.lines, task_id=entry.task, end=end, why=entry.why)
