"""The runs as a command; `all` runs one process after the other and writes docs/results/faults.md."""

import asyncio
import os
import platform
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ottoscaler.runtime.log import configure_logging
from tests.faultrun.runs import STAGES, run
from tests.faultrun.verdict import report

_REPORT = Path(__file__).parents[2] / "docs" / "results" / "faults.md"
_HEAD = """# {faults} faults on each backend

{day}, Python {python}, {cores} cores (load average {load:.1f} at the end), seed {seed}: `make proof-faults`.

Each run is real supervisor, sources, readings, API server (TLS) and /metrics in one process with its judge, before
real servers (Firebase: [the tests' own](../decisions/0065-a-realtime-database-for-tests.md), behind a token; Firestore:
Google's emulator; Prometheus: Debian's; Redis: one with proxies, one that misbehaves, a master and a replica, three
Sentinels, a Cluster). Every 20 ms one answer of the API is asked for over TLS, queues and metrics in turn, and all
metrics of every queue are evaluated together; each is compared with what was true at its timestamp.
[How to read it](../decisions/0070-a-fault-begins-where-all-is-well.md).
"""


async def one(name: str, faults: int, seed: int) -> int:
    """Runs and prints; 0 when all is clean."""
    outcome = await run(name, faults, seed)
    print(report(outcome), flush=True)
    return 1 if outcome.failings else 0


def every(faults: int, seed: int) -> int:
    """Each backend in a process of its own, so that one's memory is not counted as the other's."""
    print(f"seed {seed}", flush=True)
    status, parts = 0, []
    for name in STAGES:
        command = [sys.executable, "-m", "tests.faultrun", name, str(faults), str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        parts.append(done.stdout.strip() or f"## {name}: the run itself failed")
        status = status or done.returncode
    _REPORT.write_text(page(parts, faults=faults, seed=seed))
    return status


def page(parts: Sequence[str], *, faults: int, seed: int) -> str:
    """All reports under one heading."""
    head = _HEAD.format(
        faults=f"{faults:,}",
        day=datetime.now(UTC).date(),
        python=platform.python_version(),
        cores=os.cpu_count(),
        load=os.getloadavg()[0],
        seed=seed,
    )
    return "\n".join([head, *(f"{part}\n" for part in parts)])


if __name__ == "__main__":
    configure_logging(level="critical")
    arguments = sys.argv[1:] + ["", "", ""][len(sys.argv) - 1 :]
    count, chosen = int(arguments[1] or 2000), int(arguments[2] or random.randrange(1_000_000))
    if arguments[0] == "all":
        sys.exit(every(count, chosen))
    if arguments[0] not in STAGES:
        sys.exit(f"say which: {', '.join(STAGES)} or all")
    sys.exit(asyncio.run(one(arguments[0], count, chosen)))
