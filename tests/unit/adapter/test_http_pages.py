"""What people, Prometheus and probes are told beside the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ottoscaler.adapter.http import HttpServer
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.telemetry import AdapterCollector, ReloadStatus
from tests.unit.adapter.making import HandClock, config, failure, reading

METRICS_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


class Pages:
    """A server over readings that a test fills."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.readings = Readings(self.clock)
        self.readings.set_queues(
            config("""
                queues:
                  - {name: generator, fake: {}}
                  - {name: events, fake: {}, fallback: {after: 10m, value: 2}}
                """).queues
        )
        self.reload = ReloadStatus(hash="abcdef" * 10, applied_at=self.clock.time())
        self.not_ready: str | None = None
        self.restarts = {"fake": 2}
        self._base = ""
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Pages"]:
        registry = CollectorRegistry()
        registry.register(AdapterCollector(self.reload, lambda: self.restarts, clock=self.clock))
        http = HttpServer(
            "127.0.0.1",
            0,
            readings=self.readings,
            reload=self.reload,
            registry=registry,
            not_ready=lambda: self.not_ready,
            clock=self.clock,
        )
        async with http, aiohttp.ClientSession(f"http://127.0.0.1:{http.port}") as session:
            self._session = session
            yield self

    def measure(self, name: str, **fields: Any) -> None:
        self.readings.publish(reading(name, at=self.clock.time(), **fields))

    async def get(self, path: str, *, accept: str = "*/*", method: str = "GET") -> tuple[int, str]:
        assert self._session is not None
        headers = {"Accept": accept}
        async with self._session.request(method, path, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def json(self, path: str) -> tuple[int, Any]:
        assert self._session is not None
        async with self._session.get(path) as answer:
            return answer.status, await answer.json()

    async def samples(self) -> dict[tuple[str, ...], float]:
        """Prometheus samples by name and label values, in the order of the label names."""
        _, text = await self.get("/metrics")
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


async def test_waiting_jobs_are_a_total_and_what_it_is_made_of() -> None:
    async with Pages().serving() as pages:
        pages.measure("generator", waiting=2, processing=3, oldest_waiting_at=pages.clock.time() - 60)
        pages.measure("events", waiting=4, lower_bound=True)
        pages.clock.advance(1.5)
        status, body = await pages.json("/metrics/waiting-jobs")
        assert status == 200
        assert body["waitingJobs"] == 6
        assert body["queues"][0] == {
            "queue": "generator",
            "kind": "fake-queue",
            "state": "fresh",
            "waiting": 2,
            "processing": 3,
            "stalled": 0,
            "failed": 0,
            "other": 0,
            "demand": 5,
            "oldestWaitingSeconds": 61.5,
            "measuredAt": "2026-09-21T14:13:20Z",
            "ageSeconds": 1.5,
        }
        assert body["queues"][1]["lowerBound"] is True
        assert (await pages.json("/metrics/waiting-jobs?queue=events"))[1]["waitingJobs"] == 4


async def test_waiting_jobs_are_an_error_rather_than_a_number_that_was_not_measured() -> None:
    async with Pages().serving() as pages:
        pages.measure("events", waiting=4)
        status, body = await pages.json("/metrics/waiting-jobs")
        assert status == 503
        assert body["error"].startswith("queue generator: not measured once")
        assert "waitingJobs" not in body
        assert (await pages.get("/metrics/waiting-jobs?queue=events"))[0] == 200
        assert (await pages.get("/metrics/waiting-jobs?queue=nope"))[0] == 404


async def test_probes_look_at_the_process_and_never_at_a_backend() -> None:
    async with Pages().serving() as pages:
        pages.readings.publish(failure("generator"))
        for path in ("/livez", "/healthz", "/readyz"):
            assert await pages.get(path) == (200, "ok\n")
        pages.not_ready = "shutting down"
        assert await pages.get("/readyz") == (503, "shutting down\n")
        assert await pages.get("/livez") == (200, "ok\n")


async def test_the_status_page_shows_every_queue_and_escapes_what_it_shows() -> None:
    async with Pages().serving() as pages:
        pages.measure("generator", waiting=2)
        pages.readings.publish(failure("generator", reason="<b>refused</b>"))
        status, page = await pages.get("/status", accept="text/html,*/*")
        assert status == 200
        assert "&lt;b&gt;refused&lt;/b&gt;" in page
        assert "<b>" not in page
        assert '<span class="s held">held</span>' in page
        assert '<span class="s unavailable">unavailable</span>' in page
        pages.reload.successful, pages.reload.error = False, "config.yaml:3: queues[0]: <oops>"
        _, page = await pages.get("/status", accept="text/html")
        assert "config.yaml:3: queues[0]: &lt;oops&gt;" in page


async def test_the_status_as_json_has_the_same_facts() -> None:
    async with Pages().serving() as pages:
        pages.measure("generator", waiting=2)
        pages.clock.advance(301)
        pages.readings.publish(failure("generator", reason="refused"))
        pages.clock.advance(300)
        _, body = await pages.json("/status")
        by_name = {row["queue"]: row for row in body["queues"]}
        assert by_name["generator"]["state"] == "unavailable"
        assert by_name["generator"]["waiting"] == 2, "shown with its age, served to nobody"
        assert by_name["generator"]["ageSeconds"] == 601
        assert by_name["generator"]["error"] == "refused"
        assert by_name["events"] == {"queue": "events", "kind": "fake-queue", "state": "fallback"}
        assert body["configuration"] == {
            "hash": "abcdefabcdef",
            "appliedAt": "2026-09-21T14:13:20Z",
            "lastReloadSuccessful": True,
        }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/nope", 404), ("POST", "/status", 405), ("HEAD", "/livez", 200), ("GET", "/", 302)],
)
async def test_other_paths_and_methods_are_refused(method: str, path: str, expected: int) -> None:
    async with Pages().serving() as pages:
        assert (await pages.get(path, method=method))[0] == expected


async def test_prometheus_reads_every_queue_in_base_units() -> None:
    async with Pages().serving() as pages:
        pages.measure("generator", waiting=2, failed=7, oldest_waiting_at=pages.clock.time() - 60, took=0.25)
        pages.readings.publish(failure("generator", code="limited"))
        pages.readings.count("generator", "document_reads", 12)
        pages.clock.advance(601)
        samples = await pages.samples()
        queue = ("fake-queue", "generator")
        expected = {
            ("ottoscaler_queue_jobs", *queue, "waiting"): 2,
            ("ottoscaler_queue_jobs", *queue, "failed"): 7,
            ("ottoscaler_queue_oldest_waiting_seconds", *queue): 661,
            ("ottoscaler_queue_reading_age_seconds", *queue): 601,
            ("ottoscaler_queue_max_age_seconds", *queue): 300,
            ("ottoscaler_queue_fresh", *queue): 0,
            ("ottoscaler_queue_held", *queue): 0,
            ("ottoscaler_queue_readings_total", *queue): 1,
            ("ottoscaler_queue_read_duration_seconds_sum", *queue): 0.25,
            ("ottoscaler_queue_read_duration_seconds_count", *queue): 1,
            ("ottoscaler_queue_read_failures_total", *queue, "limited"): 1,
            ("ottoscaler_queue_document_reads_total", *queue): 12,
            ("ottoscaler_queue_fallback_active", "fake-queue", "events"): 1,
            ("ottoscaler_source_restarts_total", "fake"): 2,
            ("ottoscaler_config_last_reload_successful",): 1,
            ("ottoscaler_config_hash",): int("abcdefabcdef", 16),
        }
        assert {key: samples.get(key) for key in expected} == expected
        assert ("ottoscaler_queue_jobs", "fake-queue", "events", "waiting") not in samples, (
            "never a made-up 0"
        )


async def test_every_metric_is_in_the_table_of_the_documentation() -> None:
    async with Pages().serving() as pages:
        pages.measure("generator", waiting=2, took=0.1)
        pages.readings.publish(failure("generator"))
        _, text = await pages.get("/metrics")
        page = METRICS_PAGE.read_text()
        names = {family.name for family in text_string_to_metric_families(text)}
        assert {name for name in names if f"`{name}" not in page} == set()


async def test_a_step_of_the_wall_clock_shows() -> None:
    async with Pages().serving() as pages:
        assert (await pages.samples())[("ottoscaler_wall_clock_shift_seconds",)] == 0.0
        pages.clock.wall -= 3600.0
        assert (await pages.samples())[("ottoscaler_wall_clock_shift_seconds",)] == -3600.0
