"""Our adapter beside the Go library that the known adapters embed: requests, tails, CPU, memory, start.

    python -m tests.bench.serving [--alone] [--rounds N] [--seconds S] [--json FILE]

Closed loop, front-proxy certificate, 100 queues asked in turn, each request with an Audit-ID of its own as
the aggregator sends it. The two alternate within each round, so that both meet the same noise; read the
figures as ratios. Contract: external-metrics-api.md, "Figures to beat".
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.contenders import (
    QUEUES,
    TARGET,
    Running,
    Surroundings,
    adapter,
    reference,
    server,
    surroundings,
)

CONNECTIONS = (1, 8, 64)
MANY = 10_000
_WARM, _WARM_MANY = "500ms", "4s"
"""Long enough for every target to have been asked for once."""
Measured = dict[str, float]
Start = Callable[..., AbstractContextManager[Running]]
_BETTER_WHEN_SMALLER = ("p50_ms", "p99_ms", "p999_ms", "cpu_seconds_per_1000", "rss_mib")


@dataclass(frozen=True, slots=True)
class Goal:
    """What the contract asks of a ratio ours/go."""

    figure: str
    connections: int
    at_least: float | None = None
    at_most: float | None = None

    def met(self, ratio: float) -> bool:
        return (self.at_least is None or ratio >= self.at_least) and (
            self.at_most is None or ratio <= self.at_most
        )

    def __str__(self) -> str:
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


GOALS = (
    Goal("per_second", 8, at_least=2.0),
    Goal("p99_ms", 8, at_most=0.5),
    Goal("rss_mib", 8, at_most=0.8),
)


def load(
    around: Surroundings, running: Running, connections: int, seconds: float, *, spread: int
) -> Measured:
    """One measurement of a running server."""
    command = [
        str(around.programs["load"]),
        f"-address=127.0.0.1:{running.port}",
        f"-ca={around.path('ca.crt')}",
        f"-cert={around.path('front.crt')}",
        f"-key={around.path('front.key')}",
        f"-connections={connections}",
        f"-duration={seconds}s",
        f"-warm={_WARM_MANY if spread > QUEUES else _WARM}",
        f"-target={TARGET}%05d",
        f"-spread={spread}",
        f"-pid={running.pid}",
    ]
    result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if result["errors"]:
        raise RuntimeError(
            f"{running.name}: {result['errors']} bad answers, the first: {result['first_bad']}"
        )
    return {key: value for key, value in result.items() if isinstance(value, int | float)}


def rounds(
    around: Surroundings, start: Start, count: int, seconds: float
) -> dict[int, dict[str, list[Measured]]]:
    """Measurements by number of connections and contender."""
    found: dict[int, dict[str, list[Measured]]] = {n: {"ours": [], "go": []} for n in CONNECTIONS}
    with start(around) as ours, reference(around) as go:
        for connections in CONNECTIONS:  # memory once taken is not all given back: few connections first
            for number in range(count):
                pair = (ours, go) if number % 2 else (go, ours)
                for running in pair:
                    measured = load(around, running, connections, seconds, spread=QUEUES)
                    found[connections][running.name].append(measured)
    return found


def starts(around: Surroundings, start: Start, count: int) -> list[Measured]:
    """Seconds from start to first answer, and CPU seconds spent until then; a first start is not counted."""
    found: list[Measured] = []
    for _ in range(count + 1):
        with start(around) as running:
            found.append({"seconds": running.first_answer, "cpu": running.first_answer_cpu})
    return found[1:]


def one_and_many(around: Surroundings, start: Start, count: int, seconds: float) -> dict[int, list[Measured]]:
    """Ours with one queue, and with ten thousand that are asked for in turn."""
    found: dict[int, list[Measured]] = {1: [], MANY: []}
    with start(around, queues=2) as one, start(around, queues=MANY) as many:
        for number in range(count):
            pair = ((1, one), (MANY, many))
            for queues, running in pair if number % 2 else reversed(pair):
                found[queues].append(load(around, running, 8, seconds, spread=queues))
    return found


def _middle(measured: Sequence[Measured], figure: str) -> float:
    return statistics.median(one[figure] for one in measured)


def report(found: dict[int, dict[str, list[Measured]]]) -> dict[str, Any]:
    """Prints the table; returns the ratios ours/go."""
    figures = ("per_second", *_BETTER_WHEN_SMALLER)
    ratios: dict[str, Any] = {}
    print(f"\n{'connections':>11}  {'figure':<22}{'ours':>12}{'go':>12}{'ours/go':>10}")
    for connections, sides in found.items():
        for figure in figures:
            ours, go = (_middle(sides[name], figure) for name in ("ours", "go"))
            pairs = zip(sides["ours"], sides["go"], strict=True)
            ratio = statistics.median(a[figure] / b[figure] if b[figure] else float("nan") for a, b in pairs)
            ratios[f"{figure}@{connections}"] = ratio
            print(f"{connections:>11}  {figure:<22}{ours:>12.3f}{go:>12.3f}{ratio:>10.2f}")
    return ratios


def main() -> int:
    """Measures, prints, and says which goals are met."""
    parser = argparse.ArgumentParser(description="Our adapter beside the Go library, in one run.")
    parser.add_argument("--alone", action="store_true", help="our API server without the adapter around it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, surroundings(Path(directory)) as around:
        ours: Start = server if options.alone else adapter
        first = {name: starts(around, start, 3) for name, start in (("ours", ours), ("go", reference))}
        found = rounds(around, ours, options.rounds, options.seconds)
        many = one_and_many(around, ours, options.rounds, options.seconds)
    ratios = report(found)
    print("\nfirst answer after, seconds (and CPU seconds):")
    for name, began in first.items():
        print(f"  {name:<6}{_middle(began, 'seconds'):.2f} ({_middle(began, 'cpu'):.2f})")
    print("\nours, 8 connections, by number of queues:")
    for queues, measured in many.items():
        cpu = _middle(measured, "cpu_seconds_per_1000")
        print(f"  {queues:>6}  {_middle(measured, 'per_second'):>10.0f}/s  {cpu:.4f} CPU s per 1000 requests")
    print("\ngoals, ours/go:")
    for goal in GOALS:
        ratio = ratios[f"{goal.figure}@{goal.connections}"]
        verdict = "met" if goal.met(ratio) else "MISSED"
        print(f"  {goal.figure} at {goal.connections} connections: {ratio:.2f}, wanted {goal}: {verdict}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"rounds": found, "first_answer": first, "by_queues": many, "ratios": ratios}, indent=1
            )
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
