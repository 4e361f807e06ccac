"""Runs every suite, side by side where they do not disturb one another, and adds up what they counted.

    python -m tests [SUITE…]

On two cores the long pole is waiting: the control plane's program is compiled while the quick suites
run, and the true 60 s and 300 s windows of the HPA pass beside everything else. The output of a suite
is printed whole when it ends, so that lines of two suites never mix.

Given `KUBECONFIG`, the suites that need a cluster use that one, and one after the other: a cluster has
room for one adapter, since there is one APIService of the name.
"""

import asyncio
import os
import re
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTEST = (sys.executable, "-m", "pytest", "-q", "--color=no", "--durations=5")
QUIET = ("-q", "--color=no")
CLUSTER = (sys.executable, "-m", "tests.cluster")


@dataclass(frozen=True, slots=True)
class Suite:
    """A command, and what it waits for."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Suites that must have passed."""
    after: tuple[str, ...] = ()
    """Suites that must have ended, so that the two cores are free."""
    counts: bool = True
    """Whether its closing line counts tests (a linter's does not)."""
    environ: dict[str, str] = field(default_factory=dict)


_OWN_CLUSTER = (
    Suite("check", ("make", "--no-print-directory", "check"), counts=False),
    Suite("build", (*CLUSTER, "build"), counts=False),
    Suite("unit", (*PYTEST, "tests/unit")),
    Suite("component", (*PYTEST, "tests/component"), after=("unit",)),
    Suite(
        "windows",
        (*CLUSTER, "pytest", *QUIET, "-m", "windows", "tests/cluster"),
        needs=("build",),
    ),
    Suite(
        "cluster",
        (*CLUSTER, "pytest", *QUIET, "--durations=10", "-m", "not windows", "tests/cluster"),
        needs=("build",),
        after=("component",),
    ),
)


def suites(*, foreign_cluster: bool) -> tuple[Suite, ...]:
    """All of them, in the order of the summary; with a cluster of somebody's nothing has to be built for one."""
    if not foreign_cluster:
        return _OWN_CLUSTER
    before = {"windows": (), "cluster": ("component", "windows")}
    return tuple(
        replace(suite, needs=(), after=before.get(suite.name, suite.after))
        for suite in _OWN_CLUSTER
        if suite.name != "build"
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a suite ended."""

    name: str
    status: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def count(output: str) -> tuple[int, int, int]:
    """Passed, failed (errors too) and skipped tests of pytest's closing line; zeros when there is none."""
    lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed|error)", line)]
    last = lines[-1] if lines else ""

    def number(word: str) -> int:
        found = re.search(rf"(\d+) {word}", last)
        return int(found[1]) if found else 0

    return number("passed"), number("failed") + number("error"), number("skipped")


async def run(suite: Suite, done: dict[str, "asyncio.Future[Outcome]"], printing: asyncio.Lock) -> Outcome:
    """Waits for what the suite needs, runs it, prints it. A suite whose needs failed fails unrun."""
    for name in (*suite.needs, *suite.after):
        if name in done and (await asyncio.shield(done[name])).status != 0 and name in suite.needs:
            return Outcome(suite.name, 1, 0.0)
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *suite.command,
        cwd=ROOT,
        env=os.environ | suite.environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = (await process.communicate())[0].decode(errors="replace")
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    seconds = time.monotonic() - started
    status = process.returncode or 0
    numbers = count(output) if suite.counts else (0, 0, 0)
    if suite.counts and not any(numbers):
        status = status or 1  # a suite that ran no test has not passed
    async with printing:
        print(f"\n──── {suite.name} ({seconds:.0f} s, exit status {status}) ────\n{output}", flush=True)
    return Outcome(suite.name, status, seconds, *numbers)


async def main(names: list[str]) -> int:
    """Runs the named suites (all of them when none is named); 0 when all passed."""
    everything = suites(foreign_cluster=bool(os.environ.get("KUBECONFIG")))
    known = {suite.name for suite in everything}
    if unknown := set(names) - known:
        print(f"no suite {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    chosen = [suite for suite in everything if not names or suite.name in names]
    started = time.monotonic()
    printing = asyncio.Lock()
    loop = asyncio.get_running_loop()
    done: dict[str, asyncio.Future[Outcome]] = {suite.name: loop.create_future() for suite in chosen}

    async def one(suite: Suite) -> None:
        done[suite.name].set_result(await run(suite, done, printing))

    async with asyncio.TaskGroup() as group:
        for suite in chosen:
            group.create_task(one(suite))
    outcomes = [done[suite.name].result() for suite in chosen]
    print(f"\n{'suite':<12}{'seconds':>8}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for each in outcomes:
        verdict = "" if each.status == 0 else "  ← failed"
        print(
            f"{each.name:<12}{each.seconds:>8.0f}{each.passed:>8}{each.failed:>8}{each.skipped:>8}{verdict}"
        )
    print(f"{time.monotonic() - started:.0f} s in all\n")
    broken = sum(each.status != 0 and not each.failed for each in outcomes)
    passed, skipped = sum(each.passed for each in outcomes), sum(each.skipped for each in outcomes)
    failed = sum(each.failed for each in outcomes) + broken
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
