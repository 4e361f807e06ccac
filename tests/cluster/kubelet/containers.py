"""One container of a pod through all its runs: started, restarted by policy, stopped.

The runtime holds the processes; this holds what the API shows of them. A kubelet that was started
again finds its containers in the runtime's inventory and goes on with them; what the inventory lacks
was lost with the runtime, and counts as killed.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.kubelet import launch, states
from tests.cluster.kubelet.attempt import Attempt
from tests.cluster.kubelet.errors import CannotStart, ImageMissing, ImageNeverPulled, RuntimeProblem
from tests.cluster.kubelet.events import Severity
from tests.cluster.kubelet.grace import GracePeriod
from tests.cluster.kubelet.podobject import Json
from tests.cluster.kubelet.runtime.client import RuntimeFailure
from tests.cluster.kubelet.runtime.protocol import ContainerRecord, Exit
from tests.cluster.kubelet.states import Running, State, Terminated, Waiting
from tests.cluster.kubelet.surroundings import Surroundings

_STEADY_SECONDS = 600.0
"""A container that ran for so long starts its back-off anew."""
_SHOW_PULL_ERROR = 0.5
"""Seconds between `ErrImagePull` and `ImagePullBackOff`."""


class Container:
    """`spec` is the container's part of the pod's; `previous` its part of the status on the API server."""

    def __init__(
        self,
        spec: Json,
        pod: Surroundings,
        *,
        init: bool,
        previous: Json,
        records: Iterable[ContainerRecord],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.init = init
        self._pod = pod
        self._starting = asyncio.Lock()
        self._attempt: Attempt | None = None
        self._container_id = str(previous.get("containerID") or "")
        self.restarts = int(previous.get("restartCount") or 0)
        self.last = _terminated(previous.get("lastState") or {})
        waits_for_init = bool(pod.object.init_containers) and not init
        self.state: State = Waiting(reason="PodInitializing" if waits_for_init else "ContainerCreating")
        self._recall(previous, sorted(records, key=lambda record: record.attempt))

    def _recall(self, previous: Json, records: list[ContainerRecord]) -> None:
        """Takes up where an earlier kubelet left off."""
        if records:
            record = records[-1]
            self.restarts = record.attempt
            if len(records) > 1 and records[-2].exit is not None:
                self.last = states.terminated(records[-2])
            if record.exit is not None:
                self.state = self._ended(record)
                return
            self._set_running(record)
            assert self._attempt is not None
            same = previous.get("restartCount") == record.attempt and "running" in (
                previous.get("state") or {}
            )
            self._attempt.resume(
                ready=same and bool(previous.get("ready")), started=same and bool(previous.get("started"))
            )
            return
        match states.from_json(previous.get("state") or {}):
            case Terminated() as ended:
                self.state = ended
            case Running(started=started):
                self.state = states.lost(started, self._container_id)
            case Waiting() if self.last is not None:
                self.state = self.last

    @property
    def running(self) -> bool:
        return isinstance(self.state, Running)

    @property
    def ready(self) -> bool:
        return self._attempt is not None and self._attempt.ready

    def log_file(self, attempt: int) -> Path:
        """The log of one of its runs; the current one is number `restarts`."""
        return launch.log_file(self._pod.directory, self.name, attempt)

    def shown_run(self) -> int | None:
        """The run whose log is the container's: the newest that has one."""
        runs = (self.restarts, self.restarts - 1)
        return next((run for run in runs if run >= 0 and self.log_file(run).exists()), None)

    def previous_run(self) -> int | None:
        """The run before the current one; while none is current, the last one."""
        ended_last = isinstance(self.state, Waiting) and self.last is not None
        run = self.restarts if ended_last and self.log_file(self.restarts).exists() else self.restarts - 1
        return run if run >= 0 and self.log_file(run).exists() else None

    def exit_of(self, run: int) -> asyncio.Future[Exit] | None:
        """The end of one of its runs; None when that lies behind."""
        if self._attempt is None or self._attempt.record.attempt != run:
            return None
        return self._pod.context.runtime.exit(self._attempt.record.id)

    def to_json(self) -> Json:
        """Its entry in the pod's status."""
        image = self.spec["image"]
        status: Json = {
            "name": self.name,
            "image": image,
            "imageID": f"process://{image}",
            "restartCount": self.restarts,
            "ready": self.ready,
            "started": self._attempt is not None and self._attempt.started,
            "state": self.state.to_json(),
            "lastState": {} if self.last is None else self.last.to_json(),
        }
        if self._container_id:
            status["containerID"] = self._container_id
        if self.init:
            status["ready"] = isinstance(self.state, Terminated) and self.state.code == 0
        return status

    async def run(self) -> None:
        """Returns once the container has ended for good, or the pod is to end.

        Cancelled, it leaves the process as it is.
        """
        settings = self._pod.context.settings
        delay = settings.backoff_initial
        while True:
            if not isinstance(self.state, Terminated):
                if self._attempt is None:
                    await self._start_at_last()
                if self._attempt is None:
                    return
                await self._attend(self._attempt)
            ended = self.state
            assert isinstance(ended, Terminated)
            if not self._restarts_after(ended):
                return
            if ended.finished - ended.started > _STEADY_SECONDS:
                delay = settings.backoff_initial
            self.last = ended
            if self.restarts > 0:  # the first restart is immediate
                await self._back_off(delay)
                delay = min(delay * 2, settings.backoff_maximum)
            self.restarts += 1
            self.state = Waiting(reason="ContainerCreating")

    async def stop(self, grace: GracePeriod) -> None:
        """Ends the container in its own way, if it runs. The pod's `ending` must be set."""
        async with self._starting:
            pass  # one that is just being started is stopped properly, too
        if self._attempt is not None:
            await self._attempt.stop(grace, f"Stopping container {self.name}")

    async def settle(self) -> None:
        """After `stop` and the end of `run`: makes sure that the end is in the state."""
        if self._attempt is not None:
            await self._attend(self._attempt)

    async def _start_at_last(self) -> None:
        """Starts the container, trying until it works; not when the pod is to end."""
        pull_delay = self._pod.context.settings.backoff_initial
        while True:
            try:
                async with self._starting:
                    if self._pod.ending is None:
                        await self._start()
                    return
            except ImageMissing as missing:
                self._show_problem(missing)
                if not isinstance(missing, ImageNeverPulled):
                    await asyncio.sleep(_SHOW_PULL_ERROR)
                    self._wait_for(
                        "ImagePullBackOff", f'Back-off pulling image "{self.spec["image"]}": {missing}'
                    )
                    self.event("Normal", "BackOff", f'Back-off pulling image "{self.spec["image"]}"')
                await asyncio.sleep(pull_delay)
                pull_delay = min(pull_delay * 2, self._pod.context.settings.backoff_maximum)
            except CannotStart as problem:
                self._show_problem(problem)
                await asyncio.sleep(self._pod.context.settings.sync_seconds)

    async def _start(self) -> None:
        pod = self._pod
        spec = await launch.prepare(
            self.spec,
            pod.object,
            attempt=self.restarts,
            directory=pod.directory,
            address=pod.address,
            volumes=pod.volumes,
            reader=pod.reader,
            context=pod.context,
        )
        try:
            record = await pod.context.runtime.start(spec)
        except RuntimeFailure as failure:
            raise RuntimeProblem(str(failure)) from failure
        self._remove_old_logs()
        image = self.spec["image"]
        self.event("Normal", "Pulled", f'Container image "{image}" already present on machine')
        self.event("Normal", "Created", f"Created container: {self.name}")
        attempt = Attempt(record, self.spec, pod, probed=not self.init)
        if self.spec.get("lifecycle"):
            await attempt.begin()
        self._set_running(record, attempt)
        self.event("Normal", "Started", f"Started container {self.name}")
        pod.changed()

    def _set_running(self, record: ContainerRecord, attempt: Attempt | None = None) -> None:
        self._attempt = attempt or Attempt(record, self.spec, self._pod, probed=not self.init)
        self._container_id = states.container_id(record.id)
        self.state = Running(started=record.started)

    async def _attend(self, attempt: Attempt) -> None:
        await attempt.attend()
        self._attempt = None
        self.state = self._ended(attempt.record)
        if attempt.record.exit is not None and attempt.record.exit.error is not None:
            self.event("Warning", "Failed", f"Error: {attempt.record.exit.error}")
        self._pod.changed()

    def _ended(self, record: ContainerRecord) -> Terminated:
        self._container_id = states.container_id(record.id)
        return states.terminated(record, message=self._last_words(record))

    def _last_words(self, record: ContainerRecord) -> str:
        """What the container left for people at its `terminationMessagePath`, or at the end of its log."""
        try:
            path = launch.termination_file(self._pod.directory, self.name)
            with path.open("rb") as file:
                written = file.read(states.MESSAGE_CHARACTERS).decode(errors="replace")
        except OSError:
            written = ""
        wants_log = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not written and wants_log and record.exit is not None and record.exit.code:
            return record.exit.last_output
        return written

    def _restarts_after(self, ended: Terminated) -> bool:
        if self._pod.ending is not None or (self.init and ended.code == 0):
            return False
        policy = self._pod.object.restart_policy
        return policy == "Always" or (policy == "OnFailure" and ended.code != 0)

    async def _back_off(self, delay: float) -> None:
        message = f"back-off {delay:g}s restarting failed container={self.name} pod={self._pod.object.key}"
        self._wait_for("CrashLoopBackOff", message)
        self.event("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
        await asyncio.sleep(delay)

    def _show_problem(self, problem: CannotStart) -> None:
        self._wait_for(problem.reason, str(problem))
        self.event("Warning", problem.event, str(problem))

    def _wait_for(self, reason: str, message: str) -> None:
        self.state = Waiting(reason=reason, message=message)
        self._pod.changed()

    def _remove_old_logs(self) -> None:
        """As a kubelet does: the run before the current one can be read, older ones are gone."""
        for old in self.log_file(0).parent.glob("*.log*"):
            number = old.name.partition(".")[0]
            if number.isdecimal() and int(number) < self.restarts - 1:
                old.unlink(missing_ok=True)

    def event(self, severity: Severity, reason: str, message: str) -> None:
        """An event about this container."""
        field = f"spec.{'initContainers' if self.init else 'containers'}{{{self.name}}}"
        self._pod.context.events.record(self._pod.object, severity, reason, message, container=field)


def _terminated(state: Json) -> Terminated | None:
    known = states.from_json(state)
    return known if isinstance(known, Terminated) else None
