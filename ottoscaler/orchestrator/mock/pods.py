"""Simulated pods: they wait, start, write a log, end, and can be told how by their order.

`build_config` (or a stage's `config`) steers a worker: `mock_seconds`, `mock_exit_code`, `mock_lines`,
and `mock_failures`, the number of attempts of a stage that fail before one succeeds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from ottoscaler.orchestrator.mock.objects import Object
from ottoscaler.orchestrator.times import format_time, parse_time
from ottoscaler.orchestrator.worker import CONTAINER
from ottoscaler.runtime.clock import Clock

_SECONDS = 2.0
_NODE = "mock-node"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker will do."""

    seconds: float
    exit_code: int
    lines: tuple[str, ...]


@dataclass(eq=False, slots=True)
class Running:
    """One simulated pod at work."""

    log: list[tuple[float, str]] = field(default_factory=list)
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def write(self, at: float, text: str) -> None:
        self.log.append((at, text))
        self.wake()

    def wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()


def plan_of(pod: Object) -> Plan:
    """What the pod's variables ask for; a number that is none counts as not given."""
    container = next(each for each in pod["spec"]["containers"] if each["name"] == CONTAINER)
    env = {entry["name"]: entry.get("value", "") for entry in container.get("env") or ()}
    name = pod["metadata"]["name"]
    lines = _number(env.get("OTTO_CONFIG_MOCK_LINES"), 3)
    attempt, failures = _number(env.get("OTTO_ATTEMPT"), 1), _number(env.get("OTTO_CONFIG_MOCK_FAILURES"), 0)
    code = int(_number(env.get("OTTO_CONFIG_MOCK_EXIT_CODE"), 0))
    return Plan(
        seconds=_number(env.get("OTTO_CONFIG_MOCK_SECONDS"), _SECONDS),
        exit_code=(code or 1) if attempt <= failures else (0 if failures else code),
        lines=tuple(f"{name}: step {number} of {int(lines)}" for number in range(1, int(lines) + 1)),
    )


def _number(text: str | None, default: float) -> float:
    try:
        return max(0.0, float(text)) if text else default
    except ValueError:
        return default


class Life:
    """Runs one pod: `told` is called with the pod whenever its status has changed."""

    def __init__(
        self, pod: Object, *, clock: Clock, start_seconds: float, ip: str, told: Callable[[Object], None]
    ) -> None:
        self._pod = pod
        self._clock = clock
        self._start_seconds = start_seconds
        self._ip = ip
        self._told = told
        self.running = Running()
        self.task: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        """Set by who changed the pod: its gates, or its deletion."""

    async def run(self) -> None:
        """From creation to the end of the pod's work."""
        pod, clock = self._pod, self._clock
        pod["status"] = {"phase": "Pending", "conditions": []}
        while pod["spec"].get("schedulingGates"):
            self._condition("False", "SchedulingGated")
            self.changed.clear()
            await self.changed.wait()
        self._condition("True", "")
        await clock.sleep(self._start_seconds)
        plan, started = plan_of(pod), clock.time()
        pod["spec"]["nodeName"] = _NODE
        pod["status"] |= {"phase": "Running", "podIP": self._ip}
        self._container({"running": {"startedAt": format_time(started)}})
        share = plan.seconds / (len(plan.lines) or 1)
        for line in plan.lines:
            await clock.sleep(share)
            self.running.write(clock.time(), line)
        if not plan.lines:
            await clock.sleep(plan.seconds)
        self.end(plan.exit_code, started)

    def stop(self) -> None:
        """The pod is gone."""
        if self.task is not None:
            self.task.cancel()
        self.running.ended = True
        self.running.wake()

    def end(self, exit_code: int, started: float) -> None:
        """The container has ended."""
        state: dict[str, Any] = {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "startedAt": format_time(started),
            "finishedAt": format_time(self._clock.time()),
        }
        self.running.ended = True
        self._pod["status"]["phase"] = "Failed" if exit_code else "Succeeded"
        self._container({"terminated": state})
        self.running.wake()

    def _condition(self, status: str, reason: str) -> None:
        condition = {"type": "PodScheduled", "status": status, "reason": reason}
        self._pod["status"]["conditions"] = [
            condition | {"lastTransitionTime": format_time(self._clock.time())}
        ]
        self._told(self._pod)

    def _container(self, state: dict[str, Any]) -> None:
        self._pod["status"]["containerStatuses"] = [{"name": CONTAINER, "state": state}]
        self._told(self._pod)

    async def log(self, params: dict[str, str]) -> AsyncIterator[bytes]:
        """As the kubelet serves it: from `sinceTime`, with stamps, following until the end."""
        since = parse_time(params.get("sinceTime")) or 0.0
        sent = 0
        while True:
            grown = self.running.grown
            while sent < len(self.running.log):  # which may grow while a line is being taken
                at, text = self.running.log[sent]
                sent += 1
                if at >= since:
                    yield f"{format_time(at)} {text}\n".encode()
            if self.running.ended or params.get("follow") != "true":
                return
            await grown.wait()
