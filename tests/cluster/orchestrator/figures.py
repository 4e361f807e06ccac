"""How much the tests of the orchestrator do, and what they measured.

`make test` runs them short; `make proof-orchestrator` runs the same tests in full and keeps the figures
(`OTTOSCALER_FIGURES`: a file, one JSON document a line).
"""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

SEED = int(os.environ.get("OTTOSCALER_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of one run."""

    events: int
    """While something is killed or restarted."""
    kills: int
    burst: int
    """Events of five workers each, at once."""


SHORT = Sizes(events=40, kills=4, burst=20)
FULL = Sizes(events=200, kills=20, burst=100)
SIZES = FULL if os.environ.get("OTTOSCALER_SIZES") == "full" else SHORT


def record(what: str, **figures: Any) -> None:
    """Prints figures, and keeps them where they are asked for."""
    print(f"{what}: {', '.join(f'{name} {_shown(value)}' for name, value in figures.items())}")
    if path := os.environ.get("OTTOSCALER_FIGURES"):
        with Path(path).open("ab") as file:
            file.write(msgspec.json.encode({"what": what, **figures}) + b"\n")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
