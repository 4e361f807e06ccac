"""The long form of the randomised proof, and the table of what misleads: writes docs/results/redis-model.md.

python -m tests.redis.proof [STEPS]
"""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from ottoscaler.adapter.reading import ReadFailure, Reading
from tests.redis import model
from tests.redis.rows import ROWS, Outcome, try_row
from tests.redis.server import RedisServer

_RESULT = Path(__file__).parents[2] / "docs" / "results" / "redis-model.md"
_STEPS = 60_000
_A_SEED = 5_000
"""Steps that one seed is good for; the next one makes another world."""


async def _walk(
    server: RedisServer, steps: int, first_seed: int
) -> tuple[list[tuple[int, model.Tally]], float]:
    runs: list[tuple[int, model.Tally]] = []
    started = time.monotonic()
    while sum(tally.steps for _, tally in runs) < steps:
        seed = first_seed + len(runs)
        tally = await model.run(server, seed=seed, steps=min(_A_SEED, steps), pause=1 + seed % 4)
        runs.append((seed, tally))
        print(
            f"seed {seed}: {tally.steps} steps, {tally.readings} readings, {len(tally.differences)} differences"
        )
        for difference in tally.differences[:5]:
            print("  ", difference)
    return runs, time.monotonic() - started


def _cell(outcome: Outcome) -> str:
    row, ours = outcome.row, outcome.ours
    true = "unreadable" if row.true is None else f"{row.true[0]} / {row.true[1]}"
    match ours:
        case Reading():
            said = f"{ours.waiting} / {ours.processing}"
        case ReadFailure():
            said = f"“{ours.reason}”"
        case _:
            said = str(ours)
    pending = f" / {outcome.pending}" if outcome.pending else ""
    return f"| {row.situation} | {outcome.lag}{pending} | {true} | {said} |"


def _report(
    version: str, outcomes: list[Outcome], runs: list[tuple[int, model.Tally]], seconds: float
) -> str:
    commands: Counter[str] = sum((tally.commands for _, tally in runs), Counter())
    total = {
        name: sum(getattr(tally, name) for _, tally in runs)
        for name in ("steps", "readings", "transactions", "lower_bounds")
    }
    differences = [difference for _, tally in runs for difference in tally.differences]
    table = "\n".join(map(_cell, outcomes))
    done = ", ".join(f"{name} {count}" for name, count in commands.most_common())
    found = "\n".join(f"- {difference}" for difference in differences[:20])
    return f"""# What Redis says of a backlog, what is true, and what we read

{version}. Written by `make proof-redis-model`.

## Where the stream's own figures mislead

Undelivered / pending. Redis: `lag` and `pending` of `XINFO GROUPS`.

| situation | Redis | true | ours |
|---|---|---|---|
{table}

## Random commands against a model that knows the truth

{total["steps"]:,} commands on one stream with two groups, seeds {runs[0][0]} to {runs[-1][0]}, {seconds:.0f} s:
{done}.

After every 1 to 4 of them, ten surveys read the stream: for each group one that lives on, one that starts
anew at random, one that may count 5 entries only, one between whose transactions further commands run, and
one that is shown the stream as a server before 7.0 describes it. {total["readings"]:,} readings took
{total["transactions"]:,} transactions; {total["lower_bounds"]:,} were lower bounds, and said so.

**Differences in waiting, processing, oldest waiting entry or holders: {len(differences)}.**
{found}

## What the model leaves out

- XSETID with an ENTRIESADDED that is not true is noticed when nothing was removed in the same interval (the
  model lies 2 % of the time, alone in its interval); beside a removal it cannot be told from additions. A
  short backlog is counted anew every 64 readings whatever is remembered, so such an error ends by itself.
- XSETID with a MAXDELETEDID below what was really deleted hides deletions from Redis itself. It is believed
  only until a higher one was seen.
"""


async def main(steps: int) -> int:
    """Writes the result; 0 when there was no difference."""
    version = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
    version = " ".join(version.split()[:3]).replace("v=", "")
    with RedisServer() as server:
        outcomes = [await try_row(server, row) for row in ROWS]
        runs, seconds = await _walk(server, steps, first_seed=1)
    _RESULT.parent.mkdir(parents=True, exist_ok=True)
    _RESULT.write_text(_report(version, outcomes, runs, seconds))
    wrong = [outcome for outcome in outcomes if not outcome.is_right]
    differences = sum(len(tally.differences) for _, tally in runs)
    print(f"{len(outcomes)} situations, {len(wrong)} wrong; {differences} differences: {_RESULT.name}")
    return 1 if wrong or differences else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else _STEPS)))
