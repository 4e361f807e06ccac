"""The adapter's own two servers before the readings, and somebody who asks them: the API over TLS, and /metrics."""

import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ottoscaler.adapter.client import GROUP_VERSION
from ottoscaler.adapter.http import HttpServer
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.telemetry import AdapterCollector, ReloadStatus
from ottoscaler.apiservice.server import ExternalMetricsServer
from ottoscaler.apiservice.standalone import StandaloneSecurity
from ottoscaler.runtime.clock import Clock


class Answer(NamedTuple):
    """What the API said of one queue."""

    status: int
    value: int = 0
    timestamp: float = 0.0
    """Seconds since the epoch; the API's times have no fractions."""


class Shown(NamedTuple):
    """What the page for Prometheus shows, as far as faults are concerned."""

    failures: Mapping[str, int]
    """By queue, all reasons together."""
    moves: Mapping[str, int]
    """By queue: how often another server answered."""
    token_refusals: Mapping[str, int]
    """By queue."""
    clock_shift: float


class Front:
    """A client of both servers."""

    def __init__(self, api: aiohttp.ClientSession, pages: aiohttp.ClientSession) -> None:
        self._api = api
        self._pages = pages

    async def ask(self, metric: str, queue: str) -> Answer:
        """`metric` of `queue`, as an HPA asks for it."""
        path = f"{GROUP_VERSION}/namespaces/default/{metric}"
        async with self._api.get(path, params={"labelSelector": f"queue={queue}"}) as response:
            body = await response.read()
        if response.status != 200:
            return Answer(response.status)
        (item,) = json.loads(body)["items"]
        assert item["metricLabels"]["queue"] == queue
        taken = datetime.fromisoformat(item["timestamp"])
        return Answer(200, int(item["value"]), taken.timestamp())

    async def shown(self) -> Shown:
        """The page as it is now."""
        async with self._pages.get("/metrics") as response:
            text = await response.text()
        failures: dict[str, int] = {}
        moves: dict[str, int] = {}
        token_refusals: dict[str, int] = {}
        shift = 0.0
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                match sample.name:
                    case "ottoscaler_queue_read_failures_total":
                        queue = sample.labels["queue"]
                        failures[queue] = failures.get(queue, 0) + int(sample.value)
                    case "ottoscaler_queue_server_changes_total":
                        moves[sample.labels["queue"]] = int(sample.value)
                    case "ottoscaler_queue_token_refusals_total":
                        token_refusals[sample.labels["queue"]] = int(sample.value)
                    case "ottoscaler_wall_clock_shift_seconds":
                        shift = sample.value
        return Shown(failures, moves, token_refusals, shift)


@asynccontextmanager
async def serving(
    readings: Readings, clock: Clock, restarts: Callable[[], Mapping[str, int]]
) -> AsyncIterator[Front]:
    """Both servers on free ports of loopback, as `ottoscaler adapter --standalone` has them."""
    registry = CollectorRegistry()
    reload = ReloadStatus(hash="0" * 64, applied_at=clock.time())
    registry.register(AdapterCollector(reload, restarts, clock=clock))
    with tempfile.TemporaryDirectory(prefix="faultrun-") as directory:
        security = StandaloneSecurity(Path(directory))
        await security.start()
        server = ExternalMetricsServer(
            QueueMetrics(readings, clock),
            authenticator=security.authenticator,
            authorizer=security.authorizer,
            tls=security.tls,
            port=0,
            leave_seconds=1.0,
        )
        pages = HttpServer(
            "127.0.0.1",
            0,
            readings=readings,
            reload=reload,
            registry=registry,
            not_ready=lambda: None,
            clock=clock,
        )
        trust = ssl.create_default_context(cafile=security.authority)
        async with server, pages:
            host, port = server.addresses[0]
            headers = {"Authorization": f"Bearer {security.token}"}
            connector = aiohttp.TCPConnector(ssl=trust)
            async with (
                aiohttp.ClientSession(f"https://{host}:{port}", headers=headers, connector=connector) as api,
                aiohttp.ClientSession(f"http://127.0.0.1:{pages.port}") as metrics,
            ):
                yield Front(api, metrics)
