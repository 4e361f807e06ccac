"""What the workers of stages use of CPU and memory, where the cluster measures that.

metrics.k8s.io/v1beta1 (metrics-server) has the newest sample of each pod, some 15 s apart. A cluster
without it, or a worker that ends before its first sample, leaves the averages out: they are not guessed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec.structs import replace

from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.naming import SELECTOR
from ottoscaler.orchestrator.pipelines.model import RunState
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("pipelines")

_EVERY = 15.0
_ABSENT = 600.0
"""Seconds until a cluster without metrics.k8s.io is asked again."""
_MIB = 2**20


class Sample(NamedTuple):
    """What one pod used at one time."""

    at: str
    cores: float
    mib: float


class Tally:
    """Samples of a run's workers that are not yet in its record."""

    def __init__(self) -> None:
        self._sums: dict[str, Sample] = {}
        self._counts: dict[str, int] = {}

    def add(self, stage: str, sample: Sample) -> None:
        """Counts a sample of one worker of `stage`."""
        _, cores, mib = self._sums.get(stage, Sample("", 0.0, 0.0))
        self._sums[stage] = Sample("", cores + sample.cores, mib + sample.mib)
        self._counts[stage] = self._counts.get(stage, 0) + 1

    def add_to(self, state: RunState) -> RunState:
        """The state with what was counted."""
        if not self._counts:
            return state
        stages = dict(state.stages)
        for key, (_, cores, mib) in self._sums.items():
            mine = stages[key]
            stages[key] = replace(
                mine,
                cpu_sum=mine.cpu_sum + cores,
                memory_sum=mine.memory_sum + mib,
                samples=mine.samples + self._counts[key],
            )
        return replace(state, stages=stages)

    def clear(self) -> None:
        """It is in the record now."""
        self._sums.clear()
        self._counts.clear()


class Sampler:
    """Asks for the samples of all workers while `busy` says that stages run."""

    def __init__(
        self, kube: Kube, namespace: str, *, busy: Callable[[], bool], take: Callable[[str, Sample], None]
    ) -> None:
        self._kube = kube
        self._path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
        self._busy = busy
        self._take = take
        self._taken: dict[str, str] = {}
        """Time of the newest sample by pod: the same one is not counted twice."""

    async def run(self, clock: Clock) -> None:
        """Until cancelled."""
        while True:
            pause = _EVERY
            if self._busy():
                try:
                    self._read(await self._kube.get(self._path, {"labelSelector": SELECTOR}))
                except KubeError as error:
                    if error.status in {403, 404}:
                        pause = _ABSENT
                        log.info("CPU and memory of stages are not measured here", why=error)
            await clock.sleep(pause)

    def _read(self, listed: Any) -> None:
        taken: dict[str, str] = {}
        for item in listed.get("items") or ():
            name, sample = item["metadata"]["name"], read_sample(item)
            if sample is None:
                continue
            taken[name] = sample.at
            if self._taken.get(name) != sample.at:
                self._take(name, sample)
        self._taken = taken


def read_sample(item: Any) -> Sample | None:
    """All containers of a PodMetrics together; None when something of it is missing."""
    from ottoscaler.apiservice.quantity import QuantityError, parse_quantity  # only where it is measured

    cores = mib = 0.0
    containers = item.get("containers") or ()
    try:
        for each in containers:
            cores += parse_quantity(each["usage"]["cpu"]).milli() / 1000
            mib += parse_quantity(each["usage"]["memory"]).milli() / 1000 / _MIB
    except (KeyError, QuantityError):
        return None
    return Sample(item.get("timestamp", ""), cores, mib) if containers else None
