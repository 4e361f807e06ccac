"""Our adapter beside the Go library that the known adapters embed: requests, tails, CPU, memory, start.

    python -m tests.bench.serving [--alone] [--rounds N] [--seconds S] [--report FILE]

Closed loop, front-proxy certificate, 100 queues asked in turn, each request with an Audit-ID of its own as
the aggregator sends it. The two alternate within each round, so that both meet the same noise; read the
figures as ratios. Contract: external-metrics-api.md, "Figures to beat".
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
"""Long enough for every target to have been read from its backend, and asked for once."""
_PAIRS = 4
"""Short measurements in place of one long one: a ratio near 1 shows in pairs that meet the same noise."""
_MANY_ASKED = (
    "Nothing in the request path grows with the number of queues. Where all of ten thousand are asked in turn, the "
    "processor's caches hold none of the answers, and each request waits for memory some microseconds longer."
)
Measured = dict[str, float]
Start = Callable[..., AbstractContextManager[Running]]
_FIGURES = {
    "per_second": "requests/s",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "p999_ms": "p99.9, ms",
    "cpu_seconds_per_1000": "CPU s per 1,000 requests",
    "rss_mib": "RSS, MiB",
}


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
    around: Surroundings,
    running: Running,
    connections: int,
    seconds: float,
    *,
    spread: int,
    warm: str = _WARM,
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
        f"-warm={warm}",
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


@dataclass(frozen=True, slots=True)
class Mix:
    """How many queues a server has, and how many of them are asked for, in turn."""

    known: int
    asked: int


ALONE, SAME, ALL = Mix(1, 1), Mix(MANY, 1), Mix(MANY, MANY)


def mixes(around: Surroundings, start: Start, count: int, seconds: float) -> dict[Mix, list[Measured]]:
    """Ours with one queue and with ten thousand, asked the same; and with all of the many asked in turn."""
    found: dict[Mix, list[Measured]] = {ALONE: [], SAME: [], ALL: []}
    with start(around, queues=2) as one, start(around, queues=MANY) as many:
        load(around, many, 8, seconds, spread=MANY, warm=_WARM_MANY)
        for number in range(count * _PAIRS):
            order = list(found) if number % 2 else list(reversed(found))
            for mix in order:
                running = many if mix.known == MANY else one
                found[mix].append(load(around, running, 8, seconds / _PAIRS, spread=mix.asked))
    return found


def _middle(measured: Sequence[Measured], figure: str) -> float:
    return statistics.median(one[figure] for one in measured)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one run measured."""

    found: dict[int, dict[str, list[Measured]]]
    first: dict[str, list[Measured]]
    many: dict[Mix, list[Measured]]

    def ratio(self, figure: str, connections: int) -> float:
        """Ours by the reference's: the median of the rounds' ratios."""
        sides = self.found[connections]
        pairs = zip(sides["ours"], sides["go"], strict=True)
        return statistics.median(a[figure] / b[figure] if b[figure] else float("nan") for a, b in pairs)

    def cost(self, mix: Mix) -> float:
        """CPU seconds of a request by those of a server that knows one queue: the median of the pairs."""
        pairs = zip(self.many[mix], self.many[ALONE], strict=True)
        figure = "cpu_seconds_per_1000"
        return statistics.median(one[figure] / other[figure] for one, other in pairs)

    def verdicts(self) -> list[tuple[str, float, str, bool]]:
        """What was wanted, what is, and whether it is met; ratios ours/go but for the last two."""
        of_library = [
            (
                f"{goal.figure} at {goal.connections} connections",
                self.ratio(goal.figure, goal.connections),
                goal,
            )
            for goal in GOALS
        ]
        verdicts = [(what, value, str(goal), goal.met(value)) for what, value, goal in of_library]
        start = _middle(self.first["ours"], "seconds")
        return [
            *verdicts,
            (
                f"CPU of a request, {MANY} queues / one",
                self.cost(SAME),
                "at most 1.1",
                self.cost(SAME) <= 1.1,
            ),
            ("first answer after, seconds", start, "at most 1", start <= 1),
        ]


def markdown(results: Results, how: str) -> str:
    """The results for people."""
    introduction = (
        f"`{how}`, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of a machine that others used, too: read "
        "the ratios. Ours is the whole adapter with 100 Redis streams; the other is the least server on "
        "`sigs.k8s.io/custom-metrics-apiserver` with its values in memory (`tests/bench/go/reference`). Both "
        "delegate authentication and authorisation; the caller is a front proxy on kept-alive TLS connections."
    )
    head = "| connections | figure | ours | Go library | ours / Go |"
    lines = [
        "# Serving: our adapter beside the Go library",
        "",
        introduction,
        "",
        head,
        "|---|---|---|---|---|",
    ]
    for connections, sides in results.found.items():
        for figure, name in _FIGURES.items():
            ours, go = (_middle(sides[side], figure) for side in ("ours", "go"))
            ratio = results.ratio(figure, connections)
            lines.append(f"| {connections} | {name} | {ours:,.3f} | {go:,.3f} | {ratio:.2f} |")
    lines += ["", "| | first answer after, s | CPU until then, s |", "|---|---|---|"]
    for side, began in results.first.items():
        lines.append(f"| {side} | {_middle(began, 'seconds'):.2f} | {_middle(began, 'cpu'):.2f} |")
    lines += [
        "",
        "| queues of ours | asked in turn | requests/s, 8 connections | CPU s per 1,000 requests | / one queue |",
        "|---|---|---|---|---|",
    ]
    for mix, measured in results.many.items():
        rate, cpu = (_middle(measured, figure) for figure in ("per_second", "cpu_seconds_per_1000"))
        lines.append(f"| {mix.known:,} | {mix.asked:,} | {rate:,.0f} | {cpu:.4f} | {results.cost(mix):.2f} |")
    lines += ["", _MANY_ASKED]
    lines += ["", "| goal | is | wanted | |", "|---|---|---|---|"]
    for what, value, wanted, met in results.verdicts():
        lines.append(f"| {what} | {value:.2f} | {wanted} | {'met' if met else '**missed**'} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Measures, prints, and says which goals are met."""
    parser = argparse.ArgumentParser(description="Our adapter beside the Go library, in one run.")
    parser.add_argument("--alone", action="store_true", help="our API server without the adapter around it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--report", type=Path, help="write the results there, too, as Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, surroundings(Path(directory)) as around:
        ours: Start = server if options.alone else adapter
        results = Results(
            first={name: starts(around, start, 3) for name, start in (("ours", ours), ("go", reference))},
            found=rounds(around, ours, options.rounds, options.seconds),
            many=mixes(around, ours, options.rounds, options.seconds),
        )
    alone = " --alone" if options.alone else ""
    how = f"python -m tests.bench.serving{alone} --rounds {options.rounds} --seconds {options.seconds:g}"
    text = markdown(results, how)
    print(text)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
