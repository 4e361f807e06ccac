"""Rings of objects that nobody uses any more do not stay for long, whenever they were made."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from ottoscaler.runtime.memory import kept_small
from tests.virtual import VirtualClock


class _Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def no_walks() -> Iterator[None]:
    """Python's own collections stay away, and what was set aside does not stay so."""
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.looptime
@pytest.mark.usefixtures("no_walks")
async def test_a_ring_goes_even_if_it_was_in_use_when_things_were_set_aside() -> None:
    clock = VirtualClock()
    used = _Ring()
    first = weakref.ref(used)
    async with kept_small(clock):
        second = weakref.ref(_Ring())
        await asyncio.sleep(31)
        assert second() is None
        assert first() is used
        assert gc.get_freeze_count() > 0
        del used
        await asyncio.sleep(300)
        assert first() is None
    third = weakref.ref(_Ring())
    await asyncio.sleep(3600)
    assert third() is not None  # nothing goes on after the end
