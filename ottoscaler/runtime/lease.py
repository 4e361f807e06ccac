"""One replica at a time does what must be done once: leader election by a Lease of coordination.k8s.io/v1.

The rules are client-go's. A candidate takes the Lease when nobody holds it, or when it has not seen the
record change for the record's own duration, measured by its own monotonic clock from when it saw it
last: clocks of two machines are never compared. A holder that cannot renew for `renew_deadline` stops its
duties before anybody else may take over.

`kubernetes.aio.leaderelection` is not used: it needs `kubernetes.aio.client` (see docs/decisions/0001), and
keeps its locks in a ConfigMap or Lease by typed models (docs/decisions/0070).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("lease")

_RELEASE_SECONDS = 2.0
"""For giving it up while the process ends; what takes longer runs out by itself."""


class LeaseClient(Protocol):
    """The calls of `KubeClient` that a Lease needs."""

    async def get(self, path: str) -> Any: ...

    async def create(self, path: str, body: Any) -> Any: ...

    async def replace(self, path: str, body: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds; client-go's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry > 0:
            raise ValueError("a Lease's duration must exceed the renew deadline, and that the retry period")


class Lease:
    """One candidate for one Lease. `identity` must be unique among candidates that live at the same time.

    A candidate that finds the Lease held by its own identity (it was restarted) goes on as the holder.
    """

    def __init__(
        self,
        kube: LeaseClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._kube = kube
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._times = times or LeaseTimes()
        self._clock = clock
        self._seen: Any = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.holder = ""
        """Who held it when it was last looked at."""
        self.leading = False
        self.on_change: Callable[[bool], None] = lambda leading: None
        """Called when this candidate gains or loses the Lease."""

    @property
    def valid(self) -> bool:
        """Whether it is held and was renewed in time: false at once in a process that was stopped for a while."""
        age = self._clock.monotonic() - self._renewed_at
        return self.leading and age < self._times.renew_deadline

    async def run(self, duty: Callable[[], Awaitable[None]]) -> None:
        """Runs `duty()` whenever this candidate leads, until cancelled; then gives the Lease up.

        `duty` is cancelled, and waited for, when the Lease is lost; the Lease is given up when `duty`
        ends, and sought again. Exceptions of `duty` are raised, after giving the Lease up.
        """
        try:
            while True:
                await self._acquire()
                await self._lead(duty)
        finally:
            if self.leading:
                self._set_leading(leading=False)
                await self._release()

    async def _acquire(self) -> None:
        backoff = Backoff(initial=self._times.retry, maximum=self._times.retry, factor=1.0)
        failing = False
        while True:
            try:
                if await self._try():
                    self._set_leading(leading=True)
                    return
                failing = False
            except KubeError as error:
                if not failing:
                    failing = True
                    log.warning("cannot ask for the lease, trying again", lease=self._name, error=error)
            await self._clock.sleep(backoff.next())

    async def _lead(self, duty: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.ensure_future(duty())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, renewing):
                task.cancel()
            results = await asyncio.gather(working, renewing, return_exceptions=True)
        lost = renewing.done() and not renewing.cancelled()
        self._set_leading(leading=False)
        if not lost:
            await self._release()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _renew(self) -> None:
        """Returns when the Lease is lost."""
        renewed = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._times.retry)
            left = renewed + self._times.renew_deadline - self._clock.monotonic()
            asked = self._clock.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    ours = await self._try()
                if not ours:
                    log.warning("the lease was taken", lease=self._name, holder=self.holder)
                    return
                renewed = asked
            except (KubeError, TimeoutError) as error:
                if self._clock.monotonic() - renewed >= self._times.renew_deadline:
                    log.warning("the lease could not be renewed in time", lease=self._name, error=error)
                    return

    async def _try(self) -> bool:
        """Takes or renews the Lease if that is allowed; whether it is ours now. Raises `KubeError`."""
        asked = self._clock.monotonic()
        try:
            lease = await self._kube.get(self._path)
        except KubeError as error:
            if error.status != 404:
                raise
            return await self._write(self._kube.create, self._collection, {}, transitions=0)
        spec = lease.get("spec") or {}
        if lease["metadata"]["resourceVersion"] != self._seen:
            self._seen, self._seen_at = lease["metadata"]["resourceVersion"], asked
        self.holder = spec.get("holderIdentity") or ""
        duration = spec.get("leaseDurationSeconds") or self._times.duration
        ours = self.holder == self._identity
        if self.holder and not ours and self._clock.monotonic() < self._seen_at + duration:
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if ours else 1)
        return await self._write(self._kube.replace, self._path, lease, transitions=transitions)

    async def _write(
        self, call: Callable[[str, Any], Awaitable[Any]], path: str, lease: Any, *, transitions: int
    ) -> bool:
        asked = self._clock.monotonic()
        now = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        known = lease.get("spec") or {}
        held = known.get("holderIdentity") == self._identity
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease.get("metadata") or {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._times.duration)),
                "acquireTime": known.get("acquireTime") if held and known.get("acquireTime") else now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
        try:
            written = await call(path, body)
        except KubeError as error:
            if error.status == 409:
                return False  # somebody was faster
            raise
        self._seen, self._seen_at = written["metadata"]["resourceVersion"], self._clock.monotonic()
        self._renewed_at = asked
        self.holder = self._identity
        return True

    async def _release(self) -> None:
        """Lets the next candidate begin at once, instead of after the Lease's duration."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._kube.get(self._path)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._kube.replace(self._path, lease)
        except (KubeError, TimeoutError):
            return  # it runs out by itself

    def _set_leading(self, *, leading: bool) -> None:
        if leading == self.leading:
            return
        self.leading = leading
        log.info("leading" if leading else "not leading any more", lease=self._name, identity=self._identity)
        self.on_change(leading)
