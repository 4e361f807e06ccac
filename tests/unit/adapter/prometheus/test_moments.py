"""A reading is of one moment, whatever is stored while it is asked for, and of a clock that agrees with ours."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ottoscaler.adapter.reading import CLOCK_SKEW, ReadFailure, Reading
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.prometheus import BACKEND, Measurement
from ottoscaler.adapter.sources.prometheus_answer import Samples
from ottoscaler.adapter.sources.prometheus_client import Access
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from tests.sources import News, queue, read_once
from tests.unit.adapter.making import HandClock


class Store:
    """Answers like Prometheus; after `scraped_before` questions a scrape of before is stored."""

    def __init__(self, *, scraped_before: int, clock_behind: float = 0.0) -> None:
        self.now = time.time()
        self.asked = 0
        self._scraped_before = scraped_before
        self._clock_behind = clock_behind

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        new = self.asked > self._scraped_before
        query = request.query["query"]
        value = self.now - (1 if new else 16)
        if "timestamp" not in query:
            value = float(new if "waiting" in query else not new)  # the job goes back to the queue
        sample = {"metric": {}, "value": [self.now, str(value)]}
        body = {"status": "success", "data": {"resultType": "vector", "result": [sample]}}
        date = formatdate(time.time() - self._clock_behind, usegmt=True)
        return web.json_response(body, headers={"Date": date})


@asynccontextmanager
async def served(store: Store) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/{path:.*}", store.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(store: Store) -> News:
    async with served(store) as url:
        settings = PrometheusSettings(url=url, waiting="waiting", processing="processing")
        return await read_once(BACKEND, queue("q", settings))


@pytest.mark.parametrize("scraped_before", range(10))
async def test_values_and_times_are_of_the_same_samples(scraped_before: int) -> None:
    store = Store(scraped_before=scraped_before)
    reading = await read(store)
    assert isinstance(reading, Reading)
    found = (reading.waiting, reading.processing, round(store.now - reading.measured_at))
    assert found in {(0, 1, 16), (1, 0, 1)}


@pytest.mark.parametrize("behind", [-60.0, 60.0])
async def test_a_server_whose_clock_is_not_ours_is_said(behind: float) -> None:
    failure = await read(Store(scraped_before=0, clock_behind=behind))
    assert isinstance(failure, ReadFailure)
    assert (failure.code, failure.reason) == (
        "invalid",
        "the clocks of Prometheus and of this pod differ: check both",
    )


class Stated:
    """Prometheus and the access to it, where a query states when the jobs were counted."""

    def __init__(self, times: list[float]) -> None:
        self._times = tuple(times)

    def read(self) -> Access:
        return Access({}, tls=True)

    async def ask(self, query: str, **_: Any) -> Samples:
        return Samples(self._times if query == "times" else (3.0,), is_scalar=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.floats(-600.0, 600.0), st.floats(-CLOCK_SKEW - 1, CLOCK_SKEW + 1)),
        min_size=1,
        max_size=4,
    )
)
@example([2.0, -240.0])
@example([CLOCK_SKEW, 0.0])
def test_a_sample_that_is_a_little_ahead_hides_no_older_one(ahead: list[float]) -> None:
    clock = HandClock()
    now = clock.time()
    times = [now + each for each in ahead]
    answers: Any = Stated(times)
    asked = PrometheusSettings(url="http://prometheus", waiting="waiting", timestamp="times")
    measurement = Measurement(answers, answers, clock)
    if max(times) > now + CLOCK_SKEW:
        with pytest.raises(SourceError, match="in the future: check the clocks"):
            asyncio.run(measurement.of(queue("q", asked)))
    else:
        assert asyncio.run(measurement.of(queue("q", asked))).measured_at == min(now, *times)
