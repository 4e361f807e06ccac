"""Whether something that is measured again and again stays the same: a line through the samples, and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import NamedTuple


class Sample(NamedTuple):
    """What a process held at one moment."""

    at: float
    """Seconds since the beginning of the run."""
    rss_mib: float
    threads: int
    descriptors: int
    tasks: int = 0
    """Of its loop; 0 where they cannot be seen."""
    blocks: int = 0
    """Of memory that Python has given out; 0 where they cannot be seen."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The least-squares line through values over time, and how far the ends of the run lie apart."""

    per_hour: float
    growth: float
    """What the line gains from the first sample to the last."""
    between_quarters: float
    """Median of the last quarter of the samples less that of the first."""
    first: float
    last: float
    highest: float

    def is_flat(self, tolerance: float) -> bool:
        """Whether both ways of looking find no more than `tolerance` of growth over the whole run."""
        return self.growth <= tolerance and self.between_quarters <= tolerance


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of at least four `values` at `times` (seconds)."""
    slope, _ = linear_regression(times, values)
    quarter = max(1, len(values) // 4)
    return Trend(
        per_hour=slope * 3600,
        growth=slope * (times[-1] - times[0]),
        between_quarters=median(values[-quarter:]) - median(values[:quarter]),
        first=values[0],
        last=values[-1],
        highest=max(values),
    )
