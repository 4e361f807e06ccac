"""A run short enough for every test run: the long ones, of 2,000 faults each, are `make proof-faults`."""

import random

from tests.faultrun.runs import Stage, run_on
from tests.faultrun.verdict import report


async def nothing_false_is_served(stage: Stage, name: str, faults: int, *, warm_up: int = 0) -> None:
    """Whatever fails: every answer was true, every fault shows, all recovers, and nothing is left over."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    outcome = await run_on(stage, name, faults, seed, warm_up=warm_up)
    print(report(outcome))
    verdict = outcome.verdict
    assert verdict.happened == faults
    assert verdict.answers[200] > 20
    assert verdict.different == []
    assert (verdict.invented_zeros, verdict.too_old) == (0, 0)
    assert verdict.answers.keys() <= {200, 503}
    assert not verdict.unseen
    assert outcome.after.beyond(outcome.before) == []
