"""Firebase under seeded faults of every kind, followed and polled."""

import pytest

from tests.faultrun.runs import STAGES
from tests.faultrun.short import nothing_false_is_served


@pytest.mark.parametrize(("name", "faults"), [("firebase-stream", 36), ("firebase-poll", 16)])
async def test_nothing_false_is_served_whatever_fails(name: str, faults: int) -> None:
    await nothing_false_is_served(STAGES[name], name, faults)
