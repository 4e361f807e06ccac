"""One replica reads what costs money; the others take its readings, and take over when it goes."""

import asyncio
import copy
from typing import Any

import pytest

from ottoscaler.adapter.replicas import Replicas
from ottoscaler.runtime.kube import KubeError, PatchKind
from tests.unit.adapter.making import reading
from tests.virtual import VirtualClock
from tests.waiting import until

pytestmark = pytest.mark.looptime


class Objects:
    """The part of an API server that keeps objects by path, with their versions."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.away = False
        self.calls = 0

    def _serve(self) -> None:
        self.calls += 1
        if self.away:
            raise KubeError(status=0, reason="", message="connection refused")

    def _put(self, path: str, body: Any) -> Any:
        version = int(self.objects.get(path, {}).get("metadata", {}).get("resourceVersion", 0)) + 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(version)
        self.objects[path] = body
        return copy.deepcopy(body)

    async def get(self, path: str) -> Any:
        self._serve()
        if path not in self.objects:
            raise KubeError(status=404, reason="NotFound", message="not found")
        return copy.deepcopy(self.objects[path])

    async def create(self, path: str, body: Any) -> Any:
        self._serve()
        whole = f"{path}/{body['metadata']['name']}"
        if whole in self.objects:
            raise KubeError(status=409, reason="AlreadyExists", message="exists")
        return self._put(whole, body)

    async def replace(self, path: str, body: Any) -> Any:
        self._serve()
        if body["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
            raise KubeError(status=409, reason="Conflict", message="changed")
        return self._put(path, body)

    async def patch(self, path: str, body: Any, *, kind: PatchKind = "merge") -> Any:
        assert kind == "merge"
        found = await self.get(path)
        found["data"] = {**found.get("data", {}), **body["data"]}
        return self._put(path, found)


def replica(objects: Objects, name: str) -> Replicas:
    return Replicas(objects, namespace="apps", name="readings", clock=VirtualClock(), identity=name)


async def test_nothing_is_asked_of_the_cluster_before_a_source_asks() -> None:
    objects = Objects()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(replica(objects, "one").run())
        await asyncio.sleep(60)
        assert objects.calls == 0
        running.cancel()


async def test_one_reads_and_the_other_takes_what_it_read_with_its_own_time() -> None:
    objects = Objects()
    one, two = replica(objects, "one"), replica(objects, "two")
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.run()) for each in (one, two)]
        await until(one.reads)
        assert not two.reads()
        assert await two.take("jobs", "m") is None
        given = reading("jobs", waiting=3, heartbeats=(1.0, 2.0), took=0.5)
        await one.give(given, "m")
        await one.give(reading("more", waiting=1), "m")
        await asyncio.sleep(3)
        assert await two.take("jobs", "m") == given
        assert await two.take("more", "m") == reading("more", waiting=1)
        assert await two.take("other", "m") is None
        assert await two.take("jobs", "n") is None, "another queue of that name"
        for task in running:
            task.cancel()


async def test_looks_are_shared_by_all_queues() -> None:
    objects = Objects()
    two = replica(objects, "two")
    await asyncio.gather(*(two.take(f"q{n}", "m") for n in range(100)))
    assert objects.calls == 1


async def test_the_other_takes_over_when_the_reader_goes() -> None:
    objects = Objects()
    one, two = replica(objects, "one"), replica(objects, "two")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(one.run())
        await until(one.reads)
        second = tasks.create_task(two.run())
        two.reads()
        first.cancel()
        await until(two.reads, within=10)
        assert not one.reads()
        second.cancel()


async def test_a_reader_that_cannot_reach_the_cluster_stops_reading_and_keeps_its_offers() -> None:
    objects = Objects()
    one = replica(objects, "one")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.run())
        await until(one.reads)
        objects.away = True
        await one.give(reading("jobs", waiting=7), "m")
        await asyncio.sleep(11)
        assert not one.reads()
        objects.away = False
        await until(one.reads, within=30)
        await asyncio.sleep(5)
        taken = await replica(objects, "two").take("jobs", "m")
        assert taken is not None
        assert taken.waiting == 7
        running.cancel()


async def test_what_somebody_else_wrote_there_is_no_reading() -> None:
    objects = Objects()
    objects.objects["/api/v1/namespaces/apps/configmaps/readings"] = {
        "metadata": {"name": "readings", "resourceVersion": "1"},
        "data": {"jobs": '{"queue": "jobs"', "more": '{"queue": "more", "measured_at": "now"}'},
    }
    two = replica(objects, "two")
    assert await two.take("jobs", "m") is None
    assert await two.take("more", "m") is None
