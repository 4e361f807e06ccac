"""The faults of Cloud Firestore: gRPC statuses, silence, garbage, cut streams, a server that is away, clocks."""

import asyncio
import contextlib
import dataclasses
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import grpc
from google.cloud.firestore import AsyncClient

from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions
from ottoscaler.adapter.sources.firebase_jobs import COUNTED
from ottoscaler.adapter.sources.firestore import BACKEND
from ottoscaler.adapter.sources.firestore_settings import MINIMUM_INTERVAL, FirestoreSettings
from ottoscaler.runtime.values import Duration
from tests.faultrun.campaign import configuration
from tests.faultrun.clock import JumpingClock, Span
from tests.faultrun.documents import Documents, document
from tests.faultrun.scene import Sign, Terms
from tests.faultrun.truth import TruthLog
from tests.firestore.proxy import FaultyProxy, GrpcFault
from tests.unit.adapter.firebase.truth import judge

_MAX_AGE = 12.0
_HURRY = 60.0
"""Every sleep of the adapter is so much shorter: the least interval lasts a quarter of a second."""
_TIMEOUT = 2.0
_STATUSES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
)
_FAULTS: Mapping[str, GrpcFault] = {
    **{code.name: GrpcFault(what="status", code=code) for code in _STATUSES},
    "silence": GrpcFault(what="silent"),
    "garbage": GrpcFault(what="garbage"),
    "empty": GrpcFault(what="empty", method="RunAggregationQuery"),
    "cut": GrpcFault(what="cut"),
    "slow": GrpcFault(what="delay", seconds=2 * _TIMEOUT),
}
_numbers = itertools.count(1)


class FirestoreScene:
    """Collections of one project, each a queue, read through a proxy that fails."""

    def __init__(
        self, client: AsyncClient, proxy: FaultyProxy, project: str, *, queues: int, seed: int
    ) -> None:
        self.clock = JumpingClock(hurry=_HURRY)
        self.common = frozenset({"clock jump", "refused"})
        self.terms = Terms(max_age=_MAX_AGE, back_off=MINIMUM_INTERVAL / _HURRY, reading=_TIMEOUT)
        self.truths = {f"q{number}": TruthLog() for number in range(queues)}
        self._documents: dict[str, dict[str, Any]] = {queue: {} for queue in self.truths}
        self._client = client
        self._proxy = proxy
        self._project = project
        self._rng = random.Random(f"{seed} scene")

    async def fill(self) -> None:
        """The first documents."""
        for queue in self.truths:
            for number in range(6):
                await self._set(queue, f"job-{number}", _clean(document(self._rng)))

    def config(self) -> Config:
        queues = [
            QueueConfig(
                options=QueueOptions(name=name, max_age=Duration(_MAX_AGE), timeout=Duration(_TIMEOUT)),
                block="firestore",
                settings=FirestoreSettings(collection=name, project=self._project),
                kind="firestore",
                interval=10.0,
            )
            for name in self.truths
        ]
        return configuration(queues, firestore=BACKEND)

    async def write(self, queue: str) -> None:
        held = sorted(self._documents[queue])
        if len(held) > 3 and self._rng.random() < 0.4:
            await self._set(queue, self._rng.choice(held), None)
        else:
            await self._set(queue, f"job-{self._rng.randrange(20)}", _clean(document(self._rng)))

    def kinds(self, queue: str) -> Sequence[str]:
        return (*_FAULTS, "refused", "clock jump")

    def sign(self, kind: str) -> Sign:
        return Sign.CLOCK if kind == "clock jump" else Sign.FAILURE

    def spans(self, start: float, end: float) -> Iterator[Span]:
        return self.clock.spans(start, end)

    async def inflict(self, kind: str, queue: str) -> bool:
        match kind:
            case "clock jump":
                others = [skew for skew in (-7200.0, -60.0, 0.0, 60.0, 7200.0) if skew != self.clock.skew]
                self.clock.jump(self._rng.choice(others))
            case "refused":
                if self._proxy.is_away:
                    return False
                await self._proxy.go_away()
            case _:
                self._proxy.add(_at(_FAULTS[kind], queue))
        return True

    def has_begun(self, kind: str, queue: str) -> bool:
        return kind not in _FAULTS or not self._proxy.waits_for(queue.encode())

    async def relieve(self, kind: str, queue: str) -> None:
        if kind == "refused":
            await self._proxy.come_back()

    async def _set(self, queue: str, name: str, value: dict[str, Any] | None) -> None:
        after = dict(self._documents[queue])
        if value is None:
            after.pop(name, None)
        else:
            after[name] = value
        truth = judge(after)
        assert truth is not None
        reference = self._client.collection(queue).document(name)
        self.truths[queue].begin(Documents(truth), time.monotonic())
        await (reference.delete() if value is None else reference.set(value))
        self.truths[queue].done(time.monotonic())
        self._documents[queue] = after


def _at(fault: GrpcFault, queue: str) -> GrpcFault:
    """The fault, for calls that speak of the collection."""
    return dataclasses.replace(fault, mentions=queue.encode())


def _clean(job: dict[str, Any]) -> dict[str, Any]:
    """Without what counts cannot see through: a map under `assignedPodId` that holds no pod's name."""
    pod = job.get("assignedPodId")
    kept = {name: value for name, value in job.items() if name in COUNTED}
    if isinstance(pod, dict) and not isinstance(pod.get("assignedPodId"), str):
        del kept["assignedPodId"]
    return kept


@contextlib.asynccontextmanager
async def firestore_scene(address: str, *, queues: int, seed: int) -> AsyncIterator[FirestoreScene]:
    """Collections in a project of their own, in the emulator at `address`."""
    project = f"faults-{os.getpid()}-{next(_numbers)}"
    async with FaultyProxy(address).running() as proxy:
        with mock.patch.dict(os.environ, {"FIRESTORE_EMULATOR_HOST": address}):
            client = AsyncClient(project=project)
            try:
                with mock.patch.dict(os.environ, {"FIRESTORE_EMULATOR_HOST": proxy.address}):
                    scene = FirestoreScene(client, proxy, project, queues=queues, seed=seed)
                    await scene.fill()
                    yield scene
            finally:
                await client._firestore_api.transport.close()
    await asyncio.sleep(0)
