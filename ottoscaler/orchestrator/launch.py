"""Creates the pods of an order, each exactly once, whatever the API server says in between.

A pod's name follows from its order, so a creation whose answer was lost is simply tried again: a 409
says that it had worked. Refusals that pass (a ResourceQuota, a server that is away) are waited out
with backoff; refusals that last (admission, rights, an invalid template) are tried a few times and
then reported with the API's own words.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, is_passing, is_quota, pods_path
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import PodDefaults, WorkerSpec, build_pod
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("launch")

Trouble = Literal["quota", "passing", "lasting"]


class OrderLost(Exception):
    """Somebody else carries the order out."""


async def _always() -> None:
    return None


def _yes() -> bool:
    return True


def _never(name: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on about pods that were refused."""

    attempts: int = 5
    """Of a refusal that lasts."""
    quota: float | None = None
    """Seconds to wait for a ResourceQuota; None: for ever."""
    passing: float | None = None
    """Seconds to wait for a server that is away or busy; None: for ever."""
    superseded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a later order has made the rest of this one pointless."""
    curtailed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a later order leaves some of these workers: none waits for a ResourceQuota any longer."""
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the launch when the API has made it wait."""
    confirm: Callable[[], Awaitable[None]] = _always
    """Called before each creation; raises `OrderLost` when the order is no longer ours to carry out.

    It may wait, for as long as nobody can say.
    """
    confirmed: Callable[[], bool] = _yes
    """Whether what `confirm` said still holds: asked right before each creation, answered at once."""
    seen: Callable[[str], bool] = _never
    """Whether the pod of that name has been seen: an answer may be lost, and the pod be gone by the next try."""

    def left(self, trouble: Trouble, spent: float) -> float | None:
        """Seconds to go on in `trouble` after `spent`; None: for ever."""
        limit = self.quota if trouble == "quota" else self.passing if trouble == "passing" else None
        return None if limit is None else max(0.0, limit - spent)

    def ends(self, trouble: Trouble) -> bool:
        """Whether a later order has ended the wait in `trouble`."""
        return self.superseded.is_set() or (trouble == "quota" and self.curtailed.is_set())


@dataclass(slots=True)
class Launch:
    """What became of an order's workers, by pod name."""

    wanted: Sequence[str] = ()
    """All of them, in the order's order."""
    created: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    """Had been created before: this order came again."""
    refused: dict[str, str] = field(default_factory=dict)
    """The API's reasons."""
    dropped: list[str] = field(default_factory=list)
    """Superseded before they could be created."""
    away: bool = False
    """The API server could not be reached when it was given up."""

    @property
    def names(self) -> list[str]:
        """Those that were created, now or before; in the same order whenever it is asked."""
        made = {*self.created, *self.existing}
        return [name for name in self.wanted if name in made]

    def reasons(self, limit: int = 3) -> str:
        """The distinct reasons of refusal, shortened."""
        distinct = list(dict.fromkeys(self.refused.values()))
        shown = "; ".join(reason[:300] for reason in distinct[:limit])
        return shown + (f"; and {len(distinct) - limit} more" if len(distinct) > limit else "")


class Launcher:
    """Creates worker pods in one namespace."""

    def __init__(
        self,
        *,
        kube: Kube,
        index: WorkerIndex,
        defaults: PodDefaults,
        telemetry: Telemetry,
        clock: Clock,
        concurrency: int = 24,
    ) -> None:
        self._kube = kube
        self._index = index
        self._defaults = defaults
        self._telemetry = telemetry
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)

    async def launch(self, specs: Sequence[WorkerSpec], patience: Patience) -> Launch:
        """Creates the pods of `specs`; returns when each has been created, refused or dropped."""
        result = Launch(wanted=tuple(spec.name for spec in specs))
        attempts: dict[str, int] = {}
        backoff = Backoff(initial=0.2, maximum=10.0)
        started = self._clock.monotonic()
        waiting = list(specs)
        last = False
        while waiting:
            troubles = await self._round(waiting, patience, result)
            waiting, words = self._sort(waiting, troubles, attempts, patience, result)
            if not waiting:
                break
            spent = self._clock.monotonic() - started
            trouble, reason = next(iter(troubles.values()), ("passing", ""))
            left = patience.left(trouble, spent)
            if left is not None and (last or left == 0):
                result.away = trouble == "passing"
                result.refused |= {spec.name: words.get(spec.name, reason) for spec in waiting}
                break
            if spent < 1.0:
                log.info(
                    "workers wait",
                    task=specs[0].task_id[:80],
                    workers=len(waiting),
                    why=trouble,
                    error=reason,
                )
            patience.waiting.set()
            # The last attempt is made when patience ends, not a whole step of the backoff later.
            step = backoff.next()
            last = left is not None and step >= left
            await self._pause(step if left is None else min(step, left), patience, trouble)
            if patience.ends(trouble):
                result.dropped += [spec.name for spec in waiting]
                break
        return result

    async def _pause(self, seconds: float, patience: Patience, trouble: Trouble) -> None:
        """Until a later order ends the wait, at most `seconds`."""
        ends = [patience.superseded, patience.curtailed] if trouble == "quota" else [patience.superseded]
        waits = [asyncio.ensure_future(self._clock.sleep(seconds))]
        waits += [asyncio.ensure_future(_reached(end)) for end in ends]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _round(
        self, specs: Sequence[WorkerSpec], patience: Patience, result: Launch
    ) -> dict[str, tuple[Trouble, str]]:
        """Tries each once; after the first that has to wait, the rest are left for the next round.

        All orders share the slots, so an order that cannot be confirmed waits outside: it holds up no other.
        """
        this = _Round(patience)
        async with asyncio.TaskGroup() as group:
            for spec in specs:
                group.create_task(self._one(spec, this, result))
        if this.lost is not None:
            raise this.lost
        return this.troubles

    async def _one(self, spec: WorkerSpec, this: "_Round", result: Launch) -> None:
        await this.confirm()
        while not await self._try(spec, this, result):
            await this.confirm()

    async def _try(self, spec: WorkerSpec, this: "_Round", result: Launch) -> bool:
        """False when the wait for a slot has outlasted what was confirmed."""
        async with self._slots:
            if this.over:
                return True
            if this.patience.seen(spec.name):
                result.existing.append(spec.name)
                return True
            if not this.patience.confirmed():
                return False
            try:
                created = await self._create(spec)
            except KubeError as error:
                trouble = _trouble(error)
                this.refused(spec, trouble, error)
                self._telemetry.creation_refused(trouble)
            else:
                (result.created if created else result.existing).append(spec.name)
            return True

    def _sort(
        self,
        waiting: Sequence[WorkerSpec],
        troubles: dict[str, tuple[Trouble, str]],
        attempts: dict[str, int],
        patience: Patience,
        result: Launch,
    ) -> tuple[list[WorkerSpec], dict[str, str]]:
        """Those to try again, and what was last said of each."""
        done = {*result.created, *result.existing}
        again: list[WorkerSpec] = []
        for spec in waiting:
            if spec.name in done:
                continue
            trouble, reason = troubles.get(spec.name, ("passing", ""))
            if trouble == "lasting":
                attempts[spec.name] = attempts.get(spec.name, 0) + 1
                if attempts[spec.name] >= patience.attempts:
                    result.refused[spec.name] = reason
                    continue
            again.append(spec)
        return again, {name: reason for name, (_, reason) in troubles.items()}

    async def _create(self, spec: WorkerSpec) -> bool:
        """True when the pod was created now, False when it had been. Raises `KubeError`."""
        started = self._clock.monotonic()
        path = pods_path(self._index.namespace)
        try:
            pod = await self._kube.create(
                path, build_pod(spec, self._defaults), {"fieldValidation": "Strict"}
            )
        except KubeError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                await self._check_same(spec)
                return False
            raise
        self._index.learn(pod)
        self._telemetry.pod_created(self._clock.monotonic() - started)
        return True

    async def _check_same(self, spec: WorkerSpec) -> None:
        """Raises `KubeError` when the pod of that name is not this worker."""
        known = self._index.get(spec.name)
        if known is None:
            try:
                known = read_worker(await self._kube.get(pods_path(self._index.namespace, spec.name)))
            except KubeError as error:
                if error.status == 404:
                    return  # it has ended and was removed since
                raise
        if not _same(known, spec):
            raise KubeError(
                status=409,
                reason="AlreadyExists",
                message=f"a pod named {spec.name} exists already and is not this worker: delete or rename it",
            )


class _Round:
    """One try of each worker of an order: what went wrong, and whether the rest are still to be tried."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.troubles: dict[str, tuple[Trouble, str]] = {}
        self.lost: OrderLost | None = None
        self._halt = False
        self._confirming = asyncio.Lock()

    @property
    def over(self) -> bool:
        return self._halt or self.patience.superseded.is_set()

    async def confirm(self) -> None:
        """One worker asks at a time: what it is told holds for all."""
        async with self._confirming:
            if self.over:
                return
            try:
                await self.patience.confirm()
            except OrderLost as error:
                self.lost = error
                self._halt = True

    def refused(self, spec: WorkerSpec, trouble: Trouble, error: KubeError) -> None:
        """Notes why; a refusal that passes is one for all of them."""
        self.troubles[spec.name] = trouble, error.message
        if trouble != "lasting":
            self._halt = True


def _trouble(error: KubeError) -> Trouble:
    if is_quota(error):
        return "quota"
    return "passing" if is_passing(error) else "lasting"


async def _reached(event: asyncio.Event) -> None:
    await event.wait()


def _same(worker: Worker, spec: WorkerSpec) -> bool:
    return (
        worker.task_id == spec.task_id
        and worker.event == spec.origin.event
        and worker.request == spec.origin.request
        and worker.stage == spec.stage
        and worker.index == spec.index
    )
