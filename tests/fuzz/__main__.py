"""Fuzzes every border for a share of the time, and writes down what was found.

    python -m tests.fuzz [--seconds 600] [--report docs/results/fuzz.md] [TARGET…]

Inputs that reach new code are kept outside the tree and are where the next run starts. An input that
breaks a target is printed, with the command that repeats it; the exit status is then 1.
"""

import argparse
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.cluster.binaries import cache_directory
from tests.fuzz.targets import SEEDS, TARGETS

ROOT = Path(__file__).parent.parent.parent
_SLOWEST = 5
"""Seconds for one input after which it counts as a hang."""
_WEIGHTS = {"http": 3, "target": 2}
_MEMORY = 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target."""

    target: str
    seconds: int
    executions: int
    features: int
    corpus: int
    finding: str | None


def fuzz(target: str, seconds: int) -> Outcome:
    """One target, from its seeds and the inputs that earlier runs kept."""
    corpus = cache_directory() / "fuzz" / target
    findings = cache_directory() / "fuzz-findings"
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.drive", target, str(corpus)]
    command += [f"-max_total_time={seconds}", f"-timeout={_SLOWEST}", f"-rss_limit_mb={_MEMORY}"]
    command += ["-print_final_stats=1", f"-artifact_prefix={findings}/{target}-"]
    result = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    output = result.stdout
    return Outcome(
        target=target,
        seconds=seconds,
        executions=_last(r"stat::number_of_executed_units: (\d+)", output),
        features=_last(r"ft: (\d+)", output),
        corpus=sum(1 for _ in corpus.iterdir()),
        finding=None if result.returncode == 0 else output[-3000:],
    )


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


FOUND = (
    "control characters in a label made YAML that no YAML reader accepts (they are escaped now)",
    "so did a key of more than 1,024 characters (it is announced by a question mark now)",
)
"""What fuzzing has found and was fixed; each has a test."""


def report(outcomes: list[Outcome]) -> str:
    """The result as Markdown."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    introduction = (
        f"Last run {datetime.now(UTC):%Y-%m-%d}: atheris {version('atheris')} on Python {python}, "
        f"{sum(one.seconds for one in outcomes)} seconds of fuzzing in all. `make proof-fuzz` repeats it; the "
        "targets are in `tests/fuzz/targets.py`, and every `make test` runs them briefly with hypothesis."
    )
    head = "| target | seconds | inputs | features reached | inputs kept | findings |"
    lines = [
        "# Fuzzing the HTTP and protobuf borders",
        "",
        introduction,
        "",
        head,
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.target} | {one.seconds} | {one.executions:,} | {one.features:,} | {one.corpus:,} | "
        f"{'**one, see below**' if one.finding else 'none'} |"
        for one in outcomes
    ]
    lines += ["", "Found by fuzzing so far, and fixed:", "", *(f"- {finding}" for finding in FOUND)]
    for one in outcomes:
        if one.finding:
            lines += ["", f"## {one.target}", "", "```", one.finding.strip(), "```"]
    return "\n".join([*lines, ""])


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(description="Fuzz the API server's borders.")
    parser.add_argument("--seconds", type=int, default=600, help="in all, on two processes at a time")
    parser.add_argument("--report", type=Path)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET")
    options = parser.parse_args()
    weights = {target: _WEIGHTS.get(target, 1) for target in options.targets}
    whole = sum(weights.values())
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(fuzz, target, max(1, 2 * options.seconds * weight // whole))
            for target, weight in weights.items()
        ]
        outcomes = [future.result() for future in running]
    text = report(outcomes)
    print(text)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
    return int(any(one.finding for one in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
