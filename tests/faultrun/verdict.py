"""What a run has found, and how people read it."""

from collections import Counter
from dataclasses import dataclass, field

from tests.faultrun.possessions import Possessions


@dataclass
class Kind:
    """All faults of one kind."""

    happened: int = 0
    seen: int = 0
    """That the page for Prometheus spoke of."""
    sign: str = ""
    """How it speaks of them."""
    slowest: float = 0.0
    """Seconds from the end of a fault to a reading taken after it."""


@dataclass
class Verdict:
    """What a judge has found."""

    recovery_limit: float
    """Seconds: the attempt under way when the fault ends, one back-off, one reading."""
    looks: int = 0
    """At all metrics of a queue together, as the API would evaluate them."""
    looks_without_number: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    """Of the API, by HTTP status."""
    different: list[str] = field(default_factory=list)
    invented_zeros: int = 0
    too_old: int = 0
    oldest: float = 0.0
    """Seconds since the measurement, of anything served."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    repeated: int = 0
    """Faults that met nobody, and were inflicted again."""
    slow: list[str] = field(default_factory=list)
    """Recoveries that took longer than the limit and the loop's own stall."""
    all_fresh_after: float = 0.0
    """Seconds from the end of the last fault until every queue had been read again."""
    longest_stall: float = 0.0
    """Seconds by which the judge itself was late at most: the machine's noise."""

    @property
    def happened(self) -> int:
        return sum(kind.happened for kind in self.kinds.values())

    @property
    def unseen(self) -> dict[str, int]:
        """Faults that nothing in the metrics speaks of, by kind."""
        return {
            name: kind.happened - kind.seen for name, kind in self.kinds.items() if kind.happened > kind.seen
        }

    @property
    def slowest(self) -> float:
        return max((kind.slowest for kind in self.kinds.values()), default=0.0)

    @property
    def failings(self) -> list[str]:
        """What must not be, in words."""
        others = {status: count for status, count in self.answers.items() if status not in (200, 503)}
        found = {
            "differ from the truth": len(self.different),
            "invented zeros": self.invented_zeros,
            "older than maxAge": self.too_old,
            "answers that are neither 200 nor 503": sum(others.values()),
            "faults not seen in metrics": sum(self.unseen.values()),
            "slow recoveries": len(self.slow),
        }
        return [f"{count} {what}" for what, count in found.items() if count]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the process before and after."""

    name: str
    seed: int
    seconds: float
    verdict: Verdict
    before: Possessions
    after: Possessions

    @property
    def failings(self) -> list[str]:
        """Empty when nothing false was served, nothing hidden, and nothing left over."""
        left = self.after.beyond(self.before)
        return [*self.verdict.failings, *(f"{each} left over" for each in left)]


def report(outcome: Outcome) -> str:
    """Markdown, for docs/results and the terminal."""
    return "\n".join(
        [
            f"## {outcome.name}, seed {outcome.seed}, {outcome.seconds:.0f} s: "
            + (", ".join(outcome.failings).upper() or "clean"),
            "",
            *_figures(outcome),
            "",
            "| fault | happened | seen in metrics | as | slowest recovery, s |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | {kind.happened} | {kind.seen} | {kind.sign} | {kind.slowest:.2f} |"
                for name, kind in sorted(outcome.verdict.kinds.items())
            ),
            "",
            *(f"- {each}" for each in (*outcome.verdict.different[:10], *outcome.verdict.slow[:10])),
        ]
    )


def _figures(outcome: Outcome) -> list[str]:
    verdict, before, after = outcome.verdict, outcome.before, outcome.after
    by_status = ", ".join(f"{status}: {count}" for status, count in sorted(verdict.answers.items()))
    names = ("tasks", "threads", "sockets", "files", "objects")
    held = ", ".join(f"{name} {getattr(before, name)} → {getattr(after, name)}" for name in names)
    return [
        f"- {verdict.happened} faults of {len(verdict.kinds)} kinds, {sum(verdict.unseen.values())} not seen in metrics",
        f"- {verdict.repeated} of them met nobody who waited, and were inflicted again",
        f"- {verdict.answers.total()} answers of the API by status: {by_status}",
        f"- {verdict.looks} looks at all metrics of a queue together, {verdict.looks_without_number} without a number",
        f"- {len(verdict.different)} differ from the truth at their timestamp, {verdict.invented_zeros} invented zeros",
        f"- {verdict.too_old} older than maxAge; the oldest served was {verdict.oldest:.2f} s old",
        f"- slowest recovery {verdict.slowest:.2f} s, {verdict.recovery_limit:.2f} s allowed; {len(verdict.slow)} slower",
        f"- all fresh {verdict.all_fresh_after:.2f} s after the last fault",
        f"- the judge, in the same loop, was late by {verdict.longest_stall:.2f} s at most",
        f"- before → after: {held}, RSS {before.rss_mib:.0f} → {after.rss_mib:.0f} MiB",
    ]
