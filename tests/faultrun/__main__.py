"""The runs as a command: python -m tests.faultrun firebase-stream|firebase-poll|firestore [FAULTS] [SEED]."""

import asyncio
import random
import sys
import time

from ottoscaler.runtime.log import configure_logging
from tests.faultrun.runs import RUNS, report


async def main(name: str, faults: int, seed: int) -> int:
    """Runs and prints; 0 when all is clean."""
    began = time.monotonic()
    outcome = await RUNS[name](faults, seed)
    print(f"{name}, seed {seed}, {time.monotonic() - began:.0f} s\n{report(outcome)}")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    configure_logging(level="critical")
    arguments = sys.argv[1:] + ["", "", ""][len(sys.argv) - 1 :]
    chosen_seed = int(arguments[2] or random.randrange(1_000_000))
    sys.exit(asyncio.run(main(arguments[0], int(arguments[1] or 2000), chosen_seed)))
