"""What a real Prometheus knows becomes a reading; what it does not know becomes a failure, never a zero."""

import time
from pathlib import Path
from typing import Any

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.prometheus import BACKEND
from ottoscaler.adapter.sources.prometheus_settings import BasicAuth, PrometheusSettings
from tests.component.prometheus.server import Scraped, process, scraping
from tests.ports import free_port
from tests.sources import News, queue, read_once, running, source_of

PAGE = """
jobs_waiting{shard="a"} 3
jobs_waiting{shard="b"} 4
jobs_active 2
jobs_share 1.25
jobs_oldest_seconds 90
jobs_nan NaN
jobs_inf +Inf
jobs_negative -1
"""


HASH_OF_SECRET = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
"""bcrypt of `secret`, at the lowest cost."""


async def ask(server: Scraped | str, waiting: str, **settings: Any) -> News:
    url = server if isinstance(server, str) else server.url
    return await read_once(BACKEND, queue("q", PrometheusSettings(url=url, waiting=waiting, **settings)))


async def reads(server: Scraped, waiting: str, **settings: Any) -> Reading:
    news = await ask(server, waiting, **settings)
    assert isinstance(news, Reading), news
    return news


async def fails(server: Scraped | str, waiting: str, **settings: Any) -> ReadFailure:
    news = await ask(server, waiting, **settings)
    assert isinstance(news, ReadFailure), news
    assert "127.0.0.1" not in news.reason
    return news


async def test_counts_are_sums_of_vectors_or_scalars_rounded_up() -> None:
    async with scraping(page=PAGE) as server:
        whole = await reads(
            server, "jobs_waiting", processing="jobs_active", oldest_waiting_seconds="jobs_oldest_seconds"
        )
        assert (whole.waiting, whole.processing) == (7, 2)
        assert whole.oldest_waiting_at is not None
        assert 85 < time.time() - whole.oldest_waiting_at < 105
        assert (await reads(server, "sum(jobs_waiting)")).waiting == 7
        assert (await reads(server, "scalar(jobs_active)")).waiting == 2
        assert (await reads(server, "jobs_share # per pod")).waiting == 2


async def test_what_is_no_count_is_a_failure() -> None:
    async with scraping(page=PAGE) as server:
        for query in ("jobs_nan", "jobs_inf", "jobs_negative", "scalar(nothing)", "jobs_active[1m]", '"x"'):
            assert (await fails(server, query)).code == "invalid", query
        assert "no PromQL" in (await fails(server, "sum(")).reason
        assert (await fails(server, "jobs_active", processing="jobs_nan")).code == "invalid"


async def test_no_series_is_a_failure_unless_it_means_no_jobs() -> None:
    async with scraping(page=PAGE) as server:
        assert (await fails(server, "nothing")).code == "missing"
        assert (await fails(server, "jobs_active", processing="nothing")).code == "missing"
        assert (await reads(server, "nothing", missing="empty")).waiting == 0
        idle = await reads(server, "jobs_active * 0", oldest_waiting_seconds="nothing")
        assert (idle.waiting, idle.oldest_waiting_at) == (0, None)


async def test_a_reading_is_as_old_as_the_oldest_sample_in_it() -> None:
    taken = time.time() - 60
    page = f"{PAGE}\njobs_pushed 5 {int(taken * 1000)}\njobs_pushed_at {taken:.3f}\n"
    async with scraping(page=page) as server:
        await server.knows("jobs_pushed")
        exact = int(taken * 1000) / 1000
        assert abs((await reads(server, "jobs_pushed")).measured_at - exact) < 0.002
        assert abs((await reads(server, "jobs_active", processing="jobs_pushed")).measured_at - exact) < 0.002
        summed = await reads(server, "sum(jobs_pushed)", timestamp="jobs_pushed_at")
        assert abs(summed.measured_at - exact) < 0.002
        assert (await reads(server, "jobs_active")).measured_at > taken + 30


async def test_a_change_is_read_by_the_queue_that_polls() -> None:
    async with scraping(page=PAGE) as server:
        source = source_of(BACKEND, [queue("q", PrometheusSettings(url=server.url, waiting="jobs_active"))])
        async with running(source) as published:
            assert (await published.reading("q")).waiting == 2
            await server.show("jobs_active 11")
            await published.reading("q", where=lambda reading: reading.waiting == 11)
            source.set_queues([queue("other", PrometheusSettings(url=server.url, waiting="page"))])
            await published.reading("other")


async def test_a_server_that_is_away_is_said() -> None:
    failure = await fails(f"http://127.0.0.1:{free_port()}", "jobs")
    assert failure.code == "unreachable"


async def test_basic_auth_from_a_file_that_rotates(tmp_path: Path) -> None:
    password, web_config = tmp_path / "password", tmp_path / "web.yml"
    web_config.write_text(f"basic_auth_users: {{reader: '{HASH_OF_SECRET}'}}\n")
    password.write_text("wrong\n")
    port = free_port()
    async with process(tmp_path, port, "127.0.0.1:1", (f"--web.config.file={web_config}",)):
        settings = PrometheusSettings(
            url=f"http://127.0.0.1:{port}",
            waiting="vector(6)",
            basic_auth=BasicAuth(username="reader", password_file=password),
        )
        async with running(source_of(BACKEND, [queue("q", settings)])) as published:
            refused = await published.next("q")
            while isinstance(refused, ReadFailure) and refused.code == "unreachable":  # it is starting
                refused = await published.next("q")
            assert isinstance(refused, ReadFailure)
            assert refused.code == "unauthorized"
            password.write_text("secret\n")
            assert (await published.reading("q")).waiting == 6
