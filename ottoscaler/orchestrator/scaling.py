"""Carries out orders: creates the workers of a ScaleUp, removes what a ScaleDown leaves no room for.

A ScaleDown also stops ScaleUps of its task that are still waiting for room, or they would undo it a
moment later. Those that are being carried out it waits for, unless nothing is to remain: "4 workers",
then "at most 2", sent together, leave 2 (docs/decisions/0085). Which workers go is a rule of its own
(`choose`), so that it can be tested by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ottoscaler.orchestrator import worker as notes
from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, is_passing, pods_path
from ottoscaler.orchestrator.launch import Launch, Launcher, Patience
from ottoscaler.orchestrator.naming import SELECTOR, label_value, scaling_pod
from ottoscaler.orchestrator.orders import Origin, ScaleDown, ScaleUp
from ottoscaler.orchestrator.template import WorkerSpec
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.tasks import Backoff

T = TypeVar("T")


class Settlement(Protocol):
    """Whether the event that asked for a worker can come again, which would create it anew."""

    async def unsettled(self, events: Iterable[str]) -> set[str]:
        """Those of `events` that may be delivered again. Raises `SettlementUnknown`."""
        ...

    async def settle(self, events: Iterable[str]) -> None:
        """Sees to it that none of `events` is delivered again. Raises `SettlementUnknown`."""
        ...


class SettlementUnknown(Exception):
    """Redis cannot be asked."""


@dataclass(slots=True)
class Removal:
    """What became of a ScaleDown."""

    removed: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class _Ongoing:
    origin: Origin
    patience: Patience
    done: asyncio.Event = field(default_factory=asyncio.Event)


def specs_of(order: ScaleUp) -> list[WorkerSpec]:
    """The workers that `order` asks for; the same order always gives the same."""
    return [
        WorkerSpec(
            name=scaling_pod(order.task_id, order.origin.key, index),
            task_id=order.task_id,
            index=index,
            count=order.count,
            origin=order.origin,
            facts=order.facts,
        )
        for index in range(1, order.count + 1)
    ]


def choose(workers: Iterable[Worker], keep: int) -> list[Worker]:
    """Those to remove so that at most `keep` active ones remain: waiting ones first, then the youngest.

    With `keep` 0 the ended ones that were kept for people to look at go too.
    """
    everything = list(workers)
    active = [each for each in everything if each.active]
    active.sort(key=lambda each: (_rank(each), -each.requested_at, -each.index, each.name))
    excess = max(0, len(active) - keep)
    ended = [each for each in everything if each.ended and each.deleting_at is None and not each.released]
    return active[:excess] + (ended if keep == 0 else [])


def _rank(worker: Worker) -> int:
    if worker.gated:
        return 0
    return 1 if worker.phase == "Pending" else 2


def curtail(patience: Patience, keep: int) -> None:
    """Tells an order in progress that a later one wants at most `keep` workers of the task."""
    (patience.curtailed if keep else patience.superseded).set()


class Scaler:
    """Carries out orders on the workers of one namespace."""

    def __init__(
        self, *, kube: Kube, index: WorkerIndex, launcher: Launcher, settlement: Settlement, clock: Clock
    ) -> None:
        self._kube = kube
        self._index = index
        self._launcher = launcher
        self._settlement = settlement
        self._clock = clock
        self._ongoing: dict[str, set[_Ongoing]] = {}

    async def up(self, order: ScaleUp, patience: Patience) -> Launch:
        """Creates the order's workers; see `Launcher.launch`."""
        ongoing = _Ongoing(order.origin, patience)
        peers = self._ongoing.setdefault(order.task_id, set())
        peers.add(ongoing)
        try:
            return await self._launcher.launch(specs_of(order), patience)
        finally:
            ongoing.done.set()
            peers.discard(ongoing)
            if not peers and self._ongoing.get(order.task_id) is peers:
                del self._ongoing[order.task_id]

    async def down(
        self,
        order: ScaleDown,
        *,
        supersedes: Callable[[Origin], bool] = lambda origin: True,
        spares: Callable[[Worker], bool] = lambda worker: False,
        passing: float | None = None,
    ) -> Removal:
        """Removes workers of the task until at most `order.keep` remain.

        `supersedes` tells which orders in progress here are older, `spares` which workers belong to a
        later order. `passing`: seconds to wait for an API server that is away; None: for ever.
        Raises `KubeError` when the workers cannot be listed.
        """
        older = [each for each in self._ongoing.get(order.task_id, ()) if supersedes(each.origin)]
        for each in older:
            curtail(each.patience, order.keep)
        try:
            async with asyncio.timeout(passing):
                for each in older:
                    await each.done.wait()
        except TimeoutError:
            pass  # they wait for an API server that does not answer: neither will it answer us
        workers = [each for each in await self._list(order.task_id, passing) if not spares(each)]
        victims = choose(workers, order.keep)
        await self._settle(victims)
        return await self._remove(victims, passing)

    async def _list(self, task_id: str, passing: float | None) -> list[Worker]:
        """Asks the API, since another replica may have created some that our watch has not told of."""
        selector = f"{SELECTOR},task-id={label_value(task_id)}"

        async def ask() -> list[Worker]:
            found = await self._kube.get(pods_path(self._index.namespace), {"labelSelector": selector})
            return [read_worker(pod) for pod in found.get("items") or ()]

        found = await self._persist(ask, passing)
        # A pipeline's workers are its own: whoever wants fewer of them cancels it.
        return [each for each in found if each.task_id == task_id and each.stage is None]

    async def _settle(self, victims: Sequence[Worker]) -> None:
        """A removed worker must not be created again by its event, should that be delivered once more."""
        events = {each.event for each in victims if each.event is not None}
        try:
            if unsettled := await self._settlement.unsettled(events):
                await self._settlement.settle(unsettled)
        except SettlementUnknown:
            return  # Redis is away; whoever asks for fewer workers gets fewer workers all the same

    async def _remove(self, victims: Sequence[Worker], passing: float | None) -> Removal:
        result = Removal()
        slots = asyncio.Semaphore(16)

        async def one(victim: Worker) -> None:
            async with slots:
                try:
                    gone = await self._persist(lambda: self._remove_one(victim), passing)
                except KubeError as error:
                    result.refused[victim.name] = error.message
                else:
                    if gone:
                        result.removed.append(victim.name)

        async with asyncio.TaskGroup() as group:
            for victim in victims:
                group.create_task(one(victim))
        result.removed.sort(key=[each.name for each in victims].index)
        return result

    async def _remove_one(self, victim: Worker) -> bool:
        """An ordinary graceful deletion; an ended one is left to the clean-up, which sees to its logs."""
        path = pods_path(self._index.namespace, victim.name)
        try:
            if victim.ended:
                note = {"metadata": {"uid": victim.uid, "annotations": {notes.RELEASED: "true"}}}
                await self._kube.patch(path, note)
            else:
                await self._kube.delete(path, {"preconditions": {"uid": victim.uid}})
        except KubeError as error:
            if error.status in {404, 409}:
                return False  # it ended and was removed by itself, or the name is another pod's by now
            raise
        return True

    async def _persist(self, call: Callable[[], Awaitable[T]], passing: float | None) -> T:
        """`call()`, again while the API server is away or busy, for at most `passing` seconds."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        started = self._clock.monotonic()
        while True:
            try:
                return await call()
            except KubeError as error:
                spent = self._clock.monotonic() - started
                if not is_passing(error) or (passing is not None and spent >= passing):
                    raise
                await self._clock.sleep(max(backoff.next(), error.retry_after or 0.0))
