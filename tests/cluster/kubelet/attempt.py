"""One run of a container: its probes while it runs, and its orderly end.

The process belongs to the runtime. Cancelling what is here leaves it alone, so that the next kubelet
can go on with it.
"""

import asyncio
import contextlib
import signal

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.events import Severity
from tests.cluster.kubelet.grace import GracePeriod
from tests.cluster.kubelet.hooks import HookName, run_hook
from tests.cluster.kubelet.podobject import Json
from tests.cluster.kubelet.probers import Outcome
from tests.cluster.kubelet.probes import Probe, ProbeKind
from tests.cluster.kubelet.runtime.client import RuntimeFailure
from tests.cluster.kubelet.runtime.protocol import ContainerRecord, Output
from tests.cluster.kubelet.surroundings import Surroundings

_PROBES: tuple[ProbeKind, ...] = ("startupProbe", "readinessProbe", "livenessProbe")
_AFTER_HOOK_SECONDS = 2.0
"""At least so much is left between the end of a preStop hook and SIGKILL."""


class Attempt:
    """`record` is a running container's. `ready` and `started` are what its probes say."""

    def __init__(self, record: ContainerRecord, spec: Json, pod: Surroundings, *, probed: bool) -> None:
        self.record = record
        self._spec = spec
        self._pod = pod
        self._probes = tuple(kind for kind in _PROBES if probed and kind in spec)
        self._started = asyncio.Event()
        self.ready = False
        if "startupProbe" not in self._probes:
            self._set_started()

    @property
    def started(self) -> bool:
        return self._started.is_set()

    def resume(self, *, ready: bool, started: bool) -> None:
        """What an earlier kubelet knew holds until a probe says otherwise."""
        if started:
            self._set_started()
        self.ready = self.ready or (ready and self.started)

    async def begin(self) -> None:
        """The postStart hook; a container whose hook fails is stopped."""
        outcome = await self._hook("postStart")
        if not outcome.healthy:
            self.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.message}")
            await self.stop(GracePeriod(self._pod.object.grace_seconds), "FailedPostStartHook")

    async def attend(self) -> None:
        """Probes until the container has ended, then puts its exit into the record."""
        async with asyncio.TaskGroup() as tasks:
            probes = [tasks.create_task(self._watch(kind)) for kind in self._probes]
            self.record.exit = await self._pod.context.runtime.exit_of(self.record.id)
            for probe in probes:
                probe.cancel()
        self.ready = False
        self._started.clear()

    async def stop(self, grace: GracePeriod, why: str) -> None:
        """preStop, SIGTERM, and SIGKILL when `grace` is over. Returns when the container has ended."""
        if self.record.exit is not None:
            return
        runtime, name = self._pod.context.runtime, self.record.id
        self.event("Normal", "Killing", why)
        least = 0.0
        with contextlib.suppress(RuntimeFailure):
            if (self._spec.get("lifecycle") or {}).get("preStop"):
                least = _AFTER_HOOK_SECONDS
                await self._pre_stop(grace)
            try:
                await runtime.signal(name, signal.SIGTERM)
                async with grace.limit(at_least=least):
                    await runtime.exit_of(name)
            except TimeoutError:
                await runtime.signal(name, signal.SIGKILL)
                await runtime.exit_of(name)

    async def execute(self, command: list[str], timeout: float) -> Output:
        """Runs a command in the container; one that cannot be run counts as failed."""
        try:
            return await self._pod.context.runtime.run(self.record.id, command, timeout=timeout)
        except RuntimeFailure as failure:
            return Output(code=126, text=str(failure))

    def event(self, severity: Severity, reason: str, message: str) -> None:
        """An event about this container."""
        field = f"spec.containers{{{self._spec['name']}}}"
        self._pod.context.events.record(self._pod.object, severity, reason, message, container=field)

    async def _pre_stop(self, grace: GracePeriod) -> None:
        try:
            async with grace.limit():
                outcome = await self._hook("preStop")
        except TimeoutError:
            outcome = Outcome(False, "it did not end within the grace period")
        if not outcome.healthy:
            self.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {outcome.message}")

    async def _hook(self, name: HookName) -> Outcome:
        try:
            return await run_hook(
                name,
                self._spec,
                address=self._pod.address,
                probers=self._pod.context.probers,
                execute=self.execute,
            )
        except ConfigurationProblem as problem:
            return Outcome(False, str(problem))

    async def _watch(self, kind: ProbeKind) -> None:
        if kind != "startupProbe":
            await self._started.wait()
        probe = Probe(
            kind,
            self._spec,
            address=self._pod.address,
            probers=self._pod.context.probers,
            execute=self.execute,
        )
        async for healthy, message in probe.verdicts():
            if not healthy and message:
                word = kind.removesuffix("Probe").capitalize()
                self.event("Warning", "Unhealthy", f"{word} probe failed: {message}")
            if healthy is None:
                continue
            if kind == "readinessProbe":
                if healthy != self.ready:
                    self.ready = healthy
                    self._pod.changed()
            elif not healthy:
                await self._kill(kind)
                return
            elif kind == "startupProbe":
                self._set_started()
                self._pod.changed()
                return

    async def _kill(self, kind: ProbeKind) -> None:
        seconds = self._spec[kind].get("terminationGracePeriodSeconds", self._pod.object.grace_seconds)
        word = kind.removesuffix("Probe")
        why = f"Container {self._spec['name']} failed {word} probe, will be restarted"
        await self.stop(GracePeriod(float(seconds)), why)

    def _set_started(self) -> None:
        self._started.set()
        self.ready = "readinessProbe" not in self._probes
