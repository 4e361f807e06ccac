"""Startup, readiness and liveness probes of a running container: when to look, and what follows.

As `pkg/kubelet/prober/worker.go`, with one difference: until a container has answered for the first
time it is looked at more often, because tests wait for that. Failures of such extra looks do not
count towards `failureThreshold`; those at the regular times do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.probers import Outcome, Probers
from tests.cluster.kubelet.runtime.protocol import Output

Json = dict[str, Any]
ProbeKind = Literal["startupProbe", "readinessProbe", "livenessProbe"]
Execute = Callable[[list[str], float], Awaitable[Output]]
"""Runs a command in the container; the second argument is its limit in seconds."""

_EAGER_FIRST = 0.05
_EAGER_LONGEST = 0.5
_EAGER_SECONDS = 20.0
"""So long after the start there are extra looks; then only those that the probe asks for."""


class Probe:
    """One probe of one container at `address`."""

    def __init__(
        self, kind: ProbeKind, container: Json, *, address: str, probers: Probers, execute: Execute
    ) -> None:
        self.kind = kind
        self._probe: Json = container[kind]
        self._ports: list[Json] = container.get("ports") or []
        self._address = address
        self._probers = probers
        self._execute = execute
        self._answered = False
        self._period = float(self._probe.get("periodSeconds") or 10)
        self._timeout = float(self._probe.get("timeoutSeconds") or 1)
        self._successes = int(self._probe.get("successThreshold") or 1)
        self._failures = int(self._probe.get("failureThreshold") or 3)

    async def verdicts(self) -> AsyncIterator[tuple[bool | None, str]]:
        """Each look's consequence: True or False once a threshold is reached, None before; and what was seen."""
        await asyncio.sleep(float(self._probe.get("initialDelaySeconds") or 0))
        run_length, last = 0, True
        async for regular in self._looks():
            outcome = await self._look()
            if not outcome.healthy and not regular:
                continue
            self._answered = self._answered or outcome.healthy
            run_length = run_length + 1 if outcome.healthy is last else 1
            last = outcome.healthy
            reached = run_length >= (self._successes if outcome.healthy else self._failures)
            yield (outcome.healthy if reached else None), outcome.message

    async def _looks(self) -> AsyncIterator[bool]:
        """The moments to look at; True for the regular ones, which are a period apart."""
        time = asyncio.get_running_loop().time
        started = regular = time()
        eager = self.kind != "livenessProbe"
        step = _EAGER_FIRST
        yield not eager
        while True:
            due = regular + self._period
            if eager and not self._answered and time() - started < _EAGER_SECONDS and time() + step < due:
                await asyncio.sleep(step)
                step = min(step * 1.5, _EAGER_LONGEST)
                yield False
                continue
            await asyncio.sleep(max(0.0, due - time()))
            regular = time()
            yield True

    async def _look(self) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask()
        except TimeoutError:
            return Outcome(False, f"probe timed out after {self._timeout:g}s")
        except ConfigurationProblem as problem:
            return Outcome(False, str(problem))

    async def _ask(self) -> Outcome:
        match self._probe:
            case {"httpGet": action}:
                return await self._probers.http(
                    action, self._address, port_number(action["port"], self._ports)
                )
            case {"tcpSocket": action}:
                return await self._probers.tcp(
                    action, self._address, port_number(action["port"], self._ports)
                )
            case {"grpc": action}:
                return await self._probers.grpc(action, self._address, int(action["port"]))
            case {"exec": action}:
                output = await self._execute(list(action["command"]), self._timeout)
                return Outcome(output.code == 0, output.text.strip() or f"command exited with {output.code}")
        raise ConfigurationProblem("the probe says neither httpGet, tcpSocket, grpc nor exec")


def port_number(port: int | str, ports: list[Json]) -> int:
    """A number, or the number of the container's port of that name."""
    if isinstance(port, int):
        return port
    for known in ports:
        if known.get("name") == port:
            return int(known["containerPort"])
    if port.isdecimal():
        return int(port)
    raise ConfigurationProblem(f"the container has no port named {port!r}")
