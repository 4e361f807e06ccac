"""Labels of a real server's samples, kept when asked, as items of the external metric."""

from pathlib import Path

from ottoscaler.adapter.reading import Reading
from ottoscaler.adapter.sources.prometheus import BACKEND
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from tests.component.adapter.running import Adapter, running
from tests.component.prometheus.server import scraping
from tests.sources import queue, read_once
from tests.waiting import until

PAGE = """
jobs_waiting{shard="a",pod="1"} 3
jobs_waiting{shard="a",pod="2"} 1
jobs_waiting{shard="b",pod="1"} 4
jobs_active{shard="a"} 2
jobs_active{shard="b"} 0
"""


async def test_parts_are_what_the_server_says_of_each_label_set() -> None:
    async with scraping(page=PAGE) as server:
        settings = PrometheusSettings(
            url=server.url, waiting="jobs_waiting", processing="jobs_active", keep_labels=("shard",)
        )
        found = await read_once(BACKEND, queue("q", settings))
        assert isinstance(found, Reading), found
        assert [(part.labels, part.waiting, part.processing) for part in found.series] == [
            ({"shard": "a"}, 4, 2),
            ({"shard": "b"}, 4, 0),
        ]
        assert (found.waiting, found.processing) == (8, 2)


async def test_an_hpa_may_follow_one_part(tmp_path: Path) -> None:
    async with scraping(page=PAGE) as server:
        config = tmp_path / "config.yaml"
        block = f"{{url: '{server.url}', waiting: jobs_waiting, keepLabels: [shard]}}"
        config.write_text(
            "api: {address: '127.0.0.1:0'}\nhttp: {address: '127.0.0.1:0'}\n"
            f"queues: [{{name: jobs, interval: 200ms, prometheus: {block}}}]\n"
        )
        async with running(config, {}) as adapter:
            await until(lambda: _is_measured(adapter), what="a first measurement")
            assert sorted(await adapter.values("queue=jobs")) == ["4", "4"]
            assert await adapter.values("queue=jobs,shard=b") == ["4"]
            await server.show(PAGE.replace('shard="b",pod="1"} 4', 'shard="b",pod="1"} 9'))

            async def followed() -> bool:
                return await adapter.values("queue=jobs,shard=b") == ["9"]

            await until(followed, what="the new value of shard b")
            assert await adapter.values("queue=jobs,shard=a") == ["4"]


async def _is_measured(adapter: Adapter) -> bool:
    return all(queue["state"] == "fresh" for queue in (await adapter.status())["queues"])
