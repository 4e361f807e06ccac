"""The soaks of `make proof-soak` for a moment: every kind of source changes, fails and is reloaded meanwhile.

How memory goes is judged by the long ones; here whatever is counted must not grow, and all must be true at the end.
"""

import os
from pathlib import Path

import pytest

from tests.firestore.emulator import HOW_TO_GET_IT, jar
from tests.soak import compressed, real
from tests.soak.run import Outcome, Pace

REAL = Pace(duration=20.0, warm_up=10.0, sample=1.0, ask=0.05, fault=3.0, outage=1.0, reload=2.0, settle=60.0)
SPEED = 60.0
COMPRESSED = Pace(
    duration=900.0,
    warm_up=300.0,
    sample=60.0,
    change=10.0,
    ask=5.0,
    fault=120.0,
    outage=60.0,
    reload=60.0,
    settle=60.0 * SPEED,
)

pytestmark = pytest.mark.skipif(jar() is None and not os.environ.get("CI"), reason=HOW_TO_GET_IT)


def check(outcome: Outcome) -> None:
    assert not outcome.wrong
    assert outcome.answers.keys() <= {200, 503}
    assert outcome.answers[200] > outcome.answers[503]
    assert outcome.faults and outcome.reloads
    first, last = outcome.samples[0], outcome.samples[-1]
    assert last.threads <= first.threads + 4
    assert last.descriptors <= first.descriptors + 20


async def test_the_process_in_real_time(tmp_path: Path) -> None:
    check(await real.soak(tmp_path, seed=1, pace=REAL))


def test_a_quarter_of_an_hour_in_seconds(tmp_path: Path) -> None:
    outcome = compressed.soak(tmp_path, seed=1, pace=COMPRESSED, speed=SPEED)
    check(outcome)
    assert outcome.samples[-1].tasks <= outcome.samples[0].tasks + 20
