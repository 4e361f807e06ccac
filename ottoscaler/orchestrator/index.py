"""All workers, kept up to date by one watch, however many there are.

Everything that wants to know about workers looks here or subscribes here: nobody polls a pod.
Changes reach subscribers in the order in which the API tells them, each as (before, after).
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.naming import SELECTOR
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.kube import WatchEvent
from ottoscaler.runtime.log import get_logger

log = get_logger("index")

_REMEMBERED_GONE = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """One worker before and after; `before` is None when it is new, `after` when it is gone."""

    before: Worker | None
    after: Worker | None

    @property
    def worker(self) -> Worker:
        """The newest that is known of it."""
        worker = self.after or self.before
        if worker is None:
            raise ValueError("a change of nothing")
        return worker


Subscriber = Callable[[Change], None]
"""Called on the event loop; returns at once and does not raise."""


class WorkerIndex:
    """The workers of one namespace. `run` keeps it; everything else only reads."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self.namespace = namespace
        self._by_name: dict[str, Worker] = {}
        self._by_task: dict[str, dict[str, Worker]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._subscribers: list[Subscriber] = []
        self.synced = asyncio.Event()
        """Set once the list has been read for the first time."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Worker]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Worker | None:
        """The worker of that pod name."""
        return self._by_name.get(name)

    def of_task(self, task_id: str) -> tuple[Worker, ...]:
        """The workers of a task, by the caller's own id."""
        return tuple(self._by_task.get(task_id, {}).values())

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tells `subscriber` of every change from now on, first of all that exist now; call the result to stop."""
        for worker in self:
            subscriber(Change(None, worker))
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        watch = self._kube.watch(pods_path(self.namespace), {"labelSelector": SELECTOR})
        async for event in watch:
            if event.type == "SYNC":
                self._replace(event)
                self.synced.set()
            elif event.type == "DELETED":
                self._drop(read_worker(event.object))
            else:
                self._put(read_worker(event.object))

    def learn(self, pod: Any) -> None:
        """Takes a pod that we have just created, so that nobody asks before the watch has told of it."""
        worker = read_worker(pod)
        if worker.name not in self._by_name and worker.uid not in self._gone:
            self._put(worker)

    def _replace(self, listed: WatchEvent) -> None:
        """What is newer than the list stays as it is: the watch goes on from the list, and tells of it."""
        workers = {worker.name: worker for worker in map(read_worker, listed.object)}
        for known in self:
            if listed.predates(known.version):
                workers.pop(known.name, None)
                continue
            found = workers.get(known.name)
            if found is None or found.uid != known.uid:
                self._drop(known)
        for worker in workers.values():
            known_now = self._by_name.get(worker.name)
            if known_now is None or known_now.version != worker.version:
                self._put(worker)

    def _put(self, worker: Worker) -> None:
        before = self._by_name.get(worker.name)
        if before is not None and before.uid != worker.uid:
            self._drop(before)
            before = None
        self._by_name[worker.name] = worker
        self._by_task.setdefault(worker.task_id, {})[worker.name] = worker
        if before is not None and before.task_id != worker.task_id:
            self._forget_task(before)
        self._tell(Change(before, worker))

    def _drop(self, worker: Worker) -> None:
        self._gone[worker.uid] = None
        if len(self._gone) > _REMEMBERED_GONE:
            self._gone.popitem(last=False)
        known = self._by_name.get(worker.name)
        if known is None or known.uid != worker.uid:
            return
        del self._by_name[worker.name]
        self._forget_task(known)
        # What the API tells at a deletion is the newest: its last state counts.
        self._tell(Change(worker, None))

    def _forget_task(self, worker: Worker) -> None:
        task = self._by_task.get(worker.task_id, {})
        task.pop(worker.name, None)
        if not task:
            self._by_task.pop(worker.task_id, None)

    def _tell(self, change: Change) -> None:
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(change)
            except Exception as error:  # supervised here: one part's fault must not blind the others
                log.exception(
                    "a change of a worker was not understood", worker=change.worker.name, error=error
                )
