"""Loud workers and a handler that misbehaves: one story, told short in the suite and long as a proof."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.orchestrator.scene import Scene, scene
from tests.orchestrator.handler_process import HandlerProcess, Manners, Record
from tests.orchestrator.replica import Replica
from tests.waiting import until

PRESSURE = 3.0
"""Seconds that a full buffer waits for the handler before lines are dropped."""


def writing(lines: int, *, burst: int = 100, pause: float = 0.3) -> str:
    """A worker that writes `line 1` to `line <lines>` in bursts."""
    return (
        "echo $OTTO_WORKER_ID >> /evidence/ran; i=0; "
        f'while [ $i -lt {lines} ]; do i=$((i+1)); echo "line $i"; '
        f"[ $((i%{burst})) = 0 ] && sleep {pause}; done; exit 0"
    )


@dataclass(slots=True)
class Account:
    """What the story came to."""

    workers: int
    lines: int
    seed: int
    record: Record
    problems: list[str] = field(default_factory=list)
    memory: list[tuple[str, float]] = field(default_factory=list)
    """RSS of the orchestrator in MiB, and when."""
    retried: float = 0.0
    lives: int = 0
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """MiB that the process grew by after the first outage: the buffers of all workers were full then."""
        flat = [rss for _, rss in self.memory[2:]]
        return max(flat) - flat[0]

    def report(self) -> list[str]:
        """Lines for people."""
        record = self.record
        asked = self.workers * self.lines
        return [
            (
                f"seed {self.seed}: {self.workers} workers × {self.lines} lines in {self.seconds:.0f} s,"
                f" {record.lines / self.seconds:.0f} lines/s"
            ),
            (
                f"of {asked} lines {record.lines} came once and in order, {record.announced} were announced as"
                f" dropped, {asked - record.lines - record.announced} are unaccounted for"
            ),
            (
                f"RETRY was answered {self.retried:.0f} times, {self.lives - 1} times the handler was killed,"
                f" {record.repeated} entries came again under their number"
            ),
            "RSS in MiB: " + ", ".join(f"{when} {rss:.0f}" for when, rss in self.memory),
        ]


def misbehaving(seed: int) -> Manners:
    return Manners(
        seed=seed,
        retry=0.01,
        retry_later=0.01,
        throttle=0.005,
        break_before=0.001,
        break_after=0.001,
        notify_error=0.2,
    )


async def play(kubeconfig: Path, namespace: str, *, workers: int, lines: int, seed: int) -> Account:
    """`workers` write while the handler answers RETRY, throttles, breaks streams, hangs and is killed."""
    rng = random.Random(seed)
    async with (
        scene(kubeconfig, namespace) as here,
        HandlerProcess(here.directory, misbehaving(seed)) as handler,
    ):
        account = Account(workers, lines, seed, handler.record)
        settings = here.settings(
            writing(lines),
            handler={"address": handler.address, "handover": "10m"},
            logs={"pressure": f"{PRESSURE:g}s", "bufferLines": max(50, lines // 5)},
        )
        async with here.replica(settings) as replica:
            await _tell(account, here, handler, replica, rng)
    return account


async def _tell(
    account: Account, here: Scene, handler: HandlerProcess, replica: Replica, rng: random.Random
) -> None:
    started, total = time.monotonic(), account.workers * account.lines

    def note(when: str) -> None:
        account.memory.append((when, replica.rss))

    async def reach(share: float) -> None:
        await until(_reached(handler, share * total), within=600, what=f"{share:.0%} of the lines come")
        note(f"{share:.0%}")

    note("before")
    await here.scale_up("loud", account.workers)
    for share in (0.1, 0.3, 0.5):
        await reach(share)
        await handler.kill()
        await asyncio.sleep(rng.uniform(0, 0.09))
        await handler.start()
    await reach(0.6)
    handler.pause()
    await _hang(1.0)
    handler.go_on()
    await reach(0.7)
    await handler.kill()
    await _hang(PRESSURE + 1)  # longer than buffers wait: now lines are dropped
    note("away")
    await handler.start()
    ran = await here.until_ran(account.workers, within=300)
    await here.until_gone(within=600)
    note("end")
    account.retried = await replica.metric("otto_log_lines_total", outcome="retried")
    account.seconds = time.monotonic() - started
    account.lives = handler.lives
    record = account.record = handler.record
    account.problems += [problem for name in ran if (problem := record.problem(name, account.lines))]
    account.problems += [f"{name} ran {times} times" for name, times in ran.items() if times > 1]
    expected = ["CREATED", "RUNNING", "COMPLETED"]
    account.problems += [
        f"{name}: {record.stages[name]}"
        for name in ran
        if list(dict.fromkeys(record.stages[name])) != expected
    ]


def _reached(handler: HandlerProcess, lines: float) -> Callable[[], bool]:
    return lambda: handler.record.lines + handler.record.announced >= lines


async def _hang(seconds: float) -> None:
    """So long is the outage: this is no wait for something to become true."""
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
