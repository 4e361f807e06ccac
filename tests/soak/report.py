"""What a soak found, as a section of docs/results/soak.md, and whether it is good."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.flat import Sample, trend
from tests.soak.run import Outcome

TOLERANCE_MIB = 2.0
"""Growth over a whole run that counts as flat: noise of the allocator is half of it."""
_HEADING = "# A long time\n\nWritten by `make proof-soak`.\n"


@dataclass(frozen=True, slots=True)
class Section:
    """Markdown, and the verdict."""

    text: str
    passed: bool


def section(title: str, outcome: Outcome, *, seed: int) -> Section:
    """The table of one run; tasks and blocks of memory where the run saw them."""
    rows = [_row("RSS, MiB", outcome, lambda sample: sample.rss_mib, TOLERANCE_MIB)]
    if outcome.samples[0].tasks:
        rows.append(_row("Python's blocks, thousands", outcome, lambda sample: sample.blocks / 1000, 10))
        rows.append(_row("tasks", outcome, lambda sample: sample.tasks, 5))
    rows.append(_row("threads", outcome, lambda sample: sample.threads, 2))
    rows.append(_row("descriptors", outcome, lambda sample: sample.descriptors, 12))
    span = outcome.samples[-1].at - outcome.samples[0].at
    answers = ", ".join(f"{count} × {status or 'none'}" for status, count in sorted(outcome.answers.items()))
    story = (
        f"{datetime.now(UTC):%Y-%m-%d}, seed {seed}: {outcome.changes:,} changes of queues, {outcome.faults} faults, "
        f"{outcome.reloads} good and {outcome.refused} bad files, answers of the API: {answers}. "
        f"{len(outcome.samples)} samples over {span / 60:.0f} minutes after the warm-up."
    )
    lines = [
        f"## {title}",
        "",
        story,
        "",
        "| | first | last | highest | slope an hour | growth by the line | last quarter − first quarter | may grow |",
        "|---|---|---|---|---|---|---|---|",
        *(text for text, _ in rows),
        "",
    ]
    wrong = ", ".join(f"{name}: {served} for {true}" for name, (served, true) in outcome.wrong.items())
    lines.append(f"Queues that differ from the truth at the end: {wrong or 'none'}.")
    passed = all(flat for _, flat in rows) and not outcome.wrong and outcome.answers[200] > 0
    lines += ["", f"**{'Flat' if passed else 'NOT FLAT, or not true'}.**", ""]
    return Section("\n".join(lines), passed)


def _row(name: str, outcome: Outcome, value: Callable[[Sample], float], tolerance: float) -> tuple[str, bool]:
    found = trend([sample.at for sample in outcome.samples], [value(sample) for sample in outcome.samples])
    cells = (
        f"{found.first:.1f}",
        f"{found.last:.1f}",
        f"{found.highest:.1f}",
        f"{found.per_hour:+.2f}",
        f"{found.growth:+.2f}",
        f"{found.between_quarters:+.2f}",
        f"{tolerance:g}",
    )
    return f"| {name} | {' | '.join(cells)} |", found.is_flat(tolerance)


def write(file: Path, what: str, result: Section) -> None:
    """Puts the section in the place of the older one of its kind."""
    mark, end = f"<!-- {what} -->", "<!-- end -->"
    text = file.read_text() if file.exists() else _HEADING
    block = f"{mark}\n{result.text}{end}"
    older = re.compile(f"{re.escape(mark)}.*?{re.escape(end)}", re.DOTALL)
    text = older.sub(lambda _: block, text) if older.search(text) else f"{text.rstrip()}\n\n{block}\n"
    file.write_text(text)
