"""A short run of `tests.faultrun` on the emulator: the long one, of 2,000 faults, is a command."""

import random

from tests.faultrun.runs import firestore_at, report
from tests.firestore.emulator import Emulator

FAULTS = 24


async def test_nothing_false_is_served_whatever_fails(emulator: Emulator) -> None:
    seed = random.randrange(1_000_000)
    outcome = await firestore_at(emulator.address, FAULTS, seed)
    print(f"seed {seed}\n{report(outcome)}")
    verdict = outcome.verdict
    assert verdict.faults.total() == FAULTS
    assert verdict.answers > 100
    assert verdict.different == []
    assert (verdict.invented_zeros, verdict.too_old) == (0, 0)
    assert outcome.after.tasks <= outcome.before.tasks
