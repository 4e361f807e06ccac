"""A short run of `tests.faultrun`: the long ones, of 2,000 faults each, are a command.

Whether every fault showed in the metrics is the long run's to judge: in a short one, a fault that meets a
request which was given up anyway shows as one failure where the campaign waits for two.
"""

import random

import pytest

from tests.faultrun.runs import RUNS, report

FAULTS = 64


@pytest.mark.parametrize("name", ["firebase-stream", "firebase-poll"])
async def test_nothing_false_is_served_whatever_fails(name: str) -> None:
    seed = random.randrange(1_000_000)
    outcome = await RUNS[name](FAULTS, seed)
    print(f"seed {seed}\n{report(outcome)}")
    verdict = outcome.verdict
    assert verdict.faults.total() == FAULTS
    assert verdict.answers > 100
    assert verdict.different == []
    assert (verdict.invented_zeros, verdict.too_old) == (0, 0)
    assert outcome.after.tasks <= outcome.before.tasks
    assert outcome.after.sockets <= outcome.before.sockets
