"""Redis in all its forms under seeded faults of every kind."""

from tests.faultrun.runs import STAGES
from tests.faultrun.short import nothing_false_is_served


async def test_nothing_false_is_served_whatever_fails() -> None:
    await nothing_false_is_served(STAGES["redis"], "redis", 30)
