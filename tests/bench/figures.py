"""A measured figure and the limit it must keep."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report."""

    what: str
    measured: str
    limit: str = ""
    """In words; empty for what is told without a limit."""
    is_met: bool = True

    @property
    def line(self) -> str:
        """For a terminal."""
        verdict = f"   (at most {self.limit}: {'kept' if self.is_met else 'MISSED'})" if self.limit else ""
        return f"{self.what}: {self.measured}{verdict}"


def table(figures: Iterable[Figure]) -> str:
    """As Markdown."""
    rows = [
        f"| {figure.what} | {figure.measured} | {figure.limit and f'at most {figure.limit}'} | "
        f"{figure.limit and ('kept' if figure.is_met else '**missed**')} |"
        for figure in figures
    ]
    return "\n".join(["| | measured | to reach | |", "|---|---|---|---|", *rows])


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
