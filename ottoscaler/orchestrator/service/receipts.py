"""Remembers which calls have been carried out, so that a caller may repeat one whose answer was lost.

A caller names its request (`metadata["request_id"]`). Until the receipt of a request is written its
ended workers stay, as those of an unacknowledged event do; after that a repetition is recognised by
the receipt. Receipts live in one ConfigMap, a short entry each, for a day.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from ottoscaler.orchestrator.kube_api import Kube, config_maps_path
from ottoscaler.orchestrator.naming import MANAGED_BY
from ottoscaler.orchestrator.worker import Worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("requests")

NAME = "ottoscaler-requests"
_KEPT = 24 * 3600.0
_MOST = 5000
_WINDOW = 600.0
"""An ended worker of a request that never came to its receipt is kept for so long, for the repetition."""
_LOOK = 1.0
_PRUNE = 600.0


class Receipt(msgspec.Struct, frozen=True):
    """A request that was carried out as a whole."""

    count: int
    at: float


@dataclass(eq=False, slots=True)
class _Pending:
    until: float
    settled: asyncio.Event


class Receipts:
    """The receipts of one namespace. `run` (on the leader) answers who waits and removes old ones."""

    def __init__(self, kube: Kube, namespace: str, *, clock: Clock) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self._known: dict[str, Receipt] = {}
        self._waiting: dict[str, _Pending] = {}
        self._wanted = asyncio.Event()
        self._locks: dict[str, asyncio.Lock] = {}

    def lock(self, key: str) -> asyncio.Lock:
        """Held while a request is carried out, so that a repetition in the meantime waits for the first."""
        if len(self._locks) > 10_000:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(key, asyncio.Lock())

    async def find(self, key: str) -> Receipt | None:
        """The receipt of a request; None when it has not been carried out. Raises `KubeError`."""
        if key in self._known:
            return self._known[key]
        return (await self._read()).get(key)

    async def write(self, key: str, receipt: Receipt) -> None:
        """Raises `KubeError`."""
        data = {key: msgspec.json.encode(receipt).decode()}
        try:
            await self._kube.patch(config_maps_path(self._namespace, NAME), {"data": data})
        except KubeError as error:
            if error.status != 404:
                raise
            await self._create(data)
        self._remember(key, receipt)
        if waiting := self._waiting.pop(key, None):
            waiting.settled.set()

    async def _create(self, data: dict[str, str]) -> None:
        body = {"metadata": {"name": NAME, "labels": dict(MANAGED_BY)}, "data": data}
        try:
            await self._kube.create(config_maps_path(self._namespace), body)
        except KubeError as error:
            if error.status != 409:
                raise
            await self._kube.patch(config_maps_path(self._namespace, NAME), {"data": data})

    def _remember(self, key: str, receipt: Receipt) -> None:
        self._known[key] = receipt
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    async def wait(self, worker: Worker) -> None:
        """Returns when the worker's request has its receipt, or has had time enough to get one."""
        key = worker.request
        if key is None or key in self._known:
            return
        until = worker.created_at + _WINDOW
        pending = self._waiting.setdefault(key, _Pending(until, asyncio.Event()))
        pending.until = max(pending.until, until)
        self._wanted.set()
        await pending.settled.wait()

    async def run(self) -> None:
        """Until cancelled."""
        pruned = self._clock.monotonic()
        while True:
            try:
                async with asyncio.timeout(_PRUNE):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            try:
                if self._waiting:
                    self._answer(await self._read())
                if self._clock.monotonic() - pruned > _PRUNE:
                    await self._prune()
                    pruned = self._clock.monotonic()
            except KubeError as error:
                log.debug("receipts cannot be read", error=error)
            if not self._waiting:
                self._wanted.clear()
            else:
                await self._clock.sleep(_LOOK)

    def _answer(self, receipts: dict[str, Receipt]) -> None:
        now = self._clock.time()
        for key in [
            each for each, pending in self._waiting.items() if each in receipts or pending.until <= now
        ]:
            self._waiting.pop(key).settled.set()

    async def _prune(self) -> None:
        receipts = await self._read()
        oldest = sorted(receipts, key=lambda key: receipts[key].at)[: max(0, len(receipts) - _MOST)]
        old = {key for key, receipt in receipts.items() if receipt.at < self._clock.time() - _KEPT}
        if stale := old | set(oldest):
            await self._kube.patch(config_maps_path(self._namespace, NAME), {"data": dict.fromkeys(stale)})

    async def _read(self) -> dict[str, Receipt]:
        try:
            found = await self._kube.get(config_maps_path(self._namespace, NAME))
        except KubeError as error:
            if error.status == 404:
                return {}
            raise
        decoded = {key: _decode(text) for key, text in (found.get("data") or {}).items()}
        return {key: receipt for key, receipt in decoded.items() if receipt is not None}


def _decode(text: Any) -> Receipt | None:
    try:
        return msgspec.json.decode(text, type=Receipt)
    except (msgspec.DecodeError, TypeError):
        return None
