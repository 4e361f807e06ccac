"""Runs a soak and judges it.

python -m tests.soak real [--minutes 20] [--report FILE]
python -m tests.soak compressed [--hours 8] [--speed 60] [--report FILE]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.soak import compressed, real
from tests.soak.report import Section, section, write
from tests.soak.run import Pace


def run_real(minutes: float, seed: int) -> Section:
    """The adapter's process in real time."""
    pace = Pace(duration=minutes * 60, warm_up=min(120.0, minutes * 15), sample=min(10.0, minutes * 2))
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        outcome = asyncio.run(real.soak(Path(directory), seed=seed, pace=pace))
    return section(f"The adapter's process for {minutes:g} real minutes", outcome, seed=seed)


def run_compressed(hours: float, speed: float, seed: int) -> Section:
    """The adapter's process, on a loop whose clock runs `speed` times as fast."""
    duration = hours * 3600
    pace = Pace(
        duration=duration,
        warm_up=min(1800.0, duration / 4),
        sample=min(300.0, duration / 40),
        change=10.0,
        ask=5.0,
        fault=150.0,
        outage=60.0,
        reload=300.0,
        settle=60.0 * speed,  # a minute, as gRPC sees it
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        began = time.monotonic()
        outcome = compressed.soak(Path(directory), seed=seed, pace=pace, speed=speed)
        took = time.monotonic() - began
    title = f"{hours:g} simulated hours in {took / 60:.0f} minutes"
    return section(title, outcome, seed=seed)


def main() -> int:
    """Reads the command line; 0 when everything stayed flat and true."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("what", choices=("real", "compressed"))
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(datetime.now(UTC).timestamp()) % 10_000)
    parser.add_argument("--report", type=Path, help="a Markdown file with a section for each of the two")
    arguments = parser.parse_args()
    if arguments.what == "real":
        result = run_real(arguments.minutes, arguments.seed)
    else:
        result = run_compressed(arguments.hours, arguments.speed, arguments.seed)
    print(result.text)
    if arguments.report is not None:
        write(arguments.report, arguments.what, result)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
