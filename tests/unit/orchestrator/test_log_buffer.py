"""Lines that wait are bounded, and what does not fit is told of in its place."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.handler.buffer import Budget, Item, LogBuffer


def item(number: int) -> Item:
    return Item(number, float(number), f"line {number}")


async def drain(buffer: LogBuffer) -> list[Item]:
    buffer.close()
    items = []
    while (each := await buffer.next()) is not None:
        items.append(each)
        buffer.taken()
    return items


def covered(items: list[Item]) -> list[int]:
    """The numbers of the lines, and of those announced as dropped, in order."""
    numbers: list[int] = []
    for each in items:
        numbers += range(each.number, each.number + each.dropped) if each.dropped else [each.number]
    return numbers


@given(
    puts=st.lists(st.sampled_from(["put", "put", "take"]), max_size=60),
    lines=st.integers(1, 8),
)
def test_every_line_comes_or_is_announced_in_its_place(puts: list[str], lines: int) -> None:
    async def play() -> None:
        budget = Budget(10**9)
        buffer = LogBuffer(lines=lines, size=10**9, budget=budget)
        number, taken, dropped = 0, [], 0
        for move in puts:
            if move == "put":
                number += 1
                dropped += buffer.put(item(number))
                assert len(buffer) <= lines + 1
            elif len(buffer):
                each = await buffer.next()
                assert each is not None
                taken.append(each)
                buffer.taken()
        everything = taken + await drain(buffer)
        assert covered(everything) == list(range(1, number + 1))
        assert sum(each.dropped for each in everything) == dropped
        assert budget.used == 0

    asyncio.run(play())


async def test_the_entry_under_way_is_never_dropped() -> None:
    buffer = LogBuffer(lines=1, size=10**9, budget=Budget(10**9))
    buffer.put(item(1))
    under_way = await buffer.next()
    for number in range(2, 6):
        buffer.put(item(number))
    assert await buffer.next() is under_way
    buffer.taken()
    assert covered(await drain(buffer)) == [2, 3, 4, 5]


async def test_buffers_share_a_budget() -> None:
    budget = Budget(1000)
    one, other = (LogBuffer(lines=100, size=10**9, budget=budget) for _ in range(2))
    one.put(item(1))
    one.put(item(2))
    one.put(item(3))
    assert one.full
    assert not other.full, "a buffer may always hold one line"
    other.put(item(1))
    assert other.full


@pytest.mark.looptime
async def test_a_reader_waits_for_room_and_no_longer_than_told() -> None:
    buffer = LogBuffer(lines=1, size=10**9, budget=Budget(10**9))
    buffer.put(item(1))
    started = asyncio.get_running_loop().time()
    assert not await buffer.room(30)
    assert asyncio.get_running_loop().time() - started == pytest.approx(30)

    async def take() -> None:
        await asyncio.sleep(5)
        await buffer.next()
        buffer.taken()

    taking = asyncio.create_task(take())
    assert await buffer.room(30)
    await taking


async def test_giving_up_leaves_one_announcement() -> None:
    buffer = LogBuffer(lines=100, size=10**9, budget=Budget(10**9))
    for number in range(1, 6):
        buffer.put(item(number))
    assert buffer.drop_all("the worker is gone") == 5
    (mark,) = await drain(buffer)
    assert (mark.number, mark.dropped, mark.at, mark.until) == (1, 5, 1.0, 5.0)


async def test_word_of_lines_that_nobody_could_count_is_kept_when_lines_give_way() -> None:
    buffer = LogBuffer(lines=2, size=10**9, budget=Budget(10**9))
    buffer.put(item(1))
    buffer.put(Item(1, 1.0, "", until=1.0, reason="the log was rotated"))
    dropped = sum(buffer.put(item(number)) for number in range(2, 6))
    word, last = await drain(buffer)
    assert (word.number, word.dropped, dropped) == (1, 4, 4)
    assert word.reason == "the handler did not take them in time; the log was rotated"
    assert last.number == 5


async def test_word_that_comes_first_begins_to_count_with_the_first_line_that_gives_way() -> None:
    buffer = LogBuffer(lines=2, size=10**9, budget=Budget(10**9))
    buffer.put(Item(7, 7.0, "", until=7.0, reason="the log was rotated"))
    dropped = sum(buffer.put(item(number)) for number in range(8, 12))
    word, last = await drain(buffer)
    assert (word.number, word.dropped, dropped, last.number) == (8, 3, 3, 11)


async def test_what_a_line_carries_counts_as_well() -> None:
    budget = Budget(10**9)
    buffer = LogBuffer(lines=100, size=10**6, budget=budget)
    buffer.put(Item(1, 1.0, "short", metadata={"key": "x" * 2_000_000}))
    assert buffer.full
    assert budget.used > 2_000_000
    await drain(buffer)
    assert budget.used == 0


async def test_a_line_that_is_given_up_is_replaced_by_word_of_it() -> None:
    budget = Budget(10**9)
    buffer = LogBuffer(lines=100, size=10**9, budget=budget)
    buffer.put(item(1))
    sending = await buffer.next()
    assert sending is not None
    buffer.replace(sending.given_up("refused"))
    (word,) = await drain(buffer)
    assert (word.number, word.dropped, word.reason) == (1, 1, "refused")
    assert budget.used == 0


@pytest.mark.parametrize("under_way", [False, True])
async def test_a_buffer_that_nobody_sends_from_holds_nothing_of_the_budget(under_way: bool) -> None:
    budget = Budget(10**9)
    buffer, other = (LogBuffer(lines=100, size=10**9, budget=budget) for _ in range(2))
    other.put(item(1))
    for number in range(1, 4):
        buffer.put(item(number))
    if under_way:
        await buffer.next()
    buffer.discard()
    assert (len(buffer), buffer.bytes, budget.used) == (0, 0, other.bytes)
    assert buffer.full, "whoever asks is told that there is no room"
    assert buffer.put(item(4)) == 1
    assert budget.used == other.bytes
