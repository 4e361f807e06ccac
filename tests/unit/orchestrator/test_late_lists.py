"""A list may be taken before a creation and told after it: what is newer than the list is not gone by it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube, Params
from ottoscaler.orchestrator.naming import run_name
from ottoscaler.orchestrator.pipelines.model import RunSpec, StageSpec
from ottoscaler.orchestrator.pipelines.runs import Runs
from ottoscaler.runtime.kube import WatchEvent
from tests.unit.orchestrator.making import pod

Told = list[tuple[str, str]]


class Scripted:
    """A cluster whose watch says what the test says, and that creates objects at `version`."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self.version = "101"

    async def watch(self, path: str, params: Params | None = None) -> AsyncIterator[WatchEvent]:
        while True:
            yield await self.events.get()

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        return body | {"metadata": body["metadata"] | {"uid": "u", "resourceVersion": self.version}}

    async def say(self, *events: WatchEvent) -> None:
        for event in events:
            self.events.put_nowait(event)
        await asyncio.sleep(0.1)


def at(version: str, name: str = "w-1", uid: str = "u") -> Any:
    return pod(name, uid=uid, resourceVersion=version)


async def told_by(kube: Scripted, *events: WatchEvent, learned: Any) -> Told:
    """What subscribers are told when `learned` is created between an empty list and `events`."""
    index, told = WorkerIndex(cast("Kube", kube), "n"), Told()
    following = asyncio.create_task(index.run())
    index.subscribe(lambda change: told.append((change.worker.uid, "known" if change.after else "gone")))
    await kube.say(WatchEvent("SYNC", [], "90"))
    index.learn(learned)
    await kube.say(*events)
    following.cancel()
    await asyncio.wait([following])
    return told


@pytest.mark.looptime
async def test_a_pod_that_was_created_after_the_list_is_not_gone_by_it() -> None:
    events = WatchEvent("SYNC", [], "100"), WatchEvent("ADDED", at("101"))
    told = await told_by(Scripted(), *events, learned=at("101"))
    assert set(told) == {("u", "known")}


@pytest.mark.looptime
async def test_the_watch_tells_of_the_end_of_what_the_list_was_too_old_for() -> None:
    events = WatchEvent("SYNC", [], "100"), WatchEvent("ADDED", at("101")), WatchEvent("DELETED", at("105"))
    told = await told_by(Scripted(), *events, learned=at("101"))
    assert [state for _, state in told] == ["known", "known", "gone"]


@pytest.mark.looptime
async def test_an_earlier_pod_of_that_name_in_the_list_does_not_replace_it() -> None:
    listed = WatchEvent("SYNC", [at("95", uid="earlier")], "100")
    events = listed, WatchEvent("DELETED", at("100", uid="earlier")), WatchEvent("ADDED", at("101"))
    told = await told_by(Scripted(), *events, learned=at("101"))
    assert set(told) == {("u", "known")}


@pytest.mark.looptime
@pytest.mark.parametrize(("pod_version", "list_version"), [("101", "102"), ("101", "101"), ("9", "10")])
async def test_a_pod_that_is_older_than_the_list_without_it_is_gone(
    pod_version: str, list_version: str
) -> None:
    told = await told_by(Scripted(), WatchEvent("SYNC", [], list_version), learned=at(pod_version))
    assert told == [("u", "known"), ("u", "gone")]


@pytest.mark.looptime
@pytest.mark.parametrize(("pod_version", "list_version"), [("b", "a"), ("101", ""), ("", "100")])
async def test_where_versions_are_no_numbers_the_list_counts(pod_version: str, list_version: str) -> None:
    told = await told_by(Scripted(), WatchEvent("SYNC", [], list_version), learned=at(pod_version))
    assert told == [("u", "known"), ("u", "gone")]


@pytest.mark.looptime
@pytest.mark.parametrize(("version", "gone"), [("100", False), ("102", True)])
async def test_a_run_that_was_recorded_after_the_list_is_not_gone_by_it(version: str, gone: bool) -> None:
    kube = Scripted()
    runs, told = Runs(cast("Kube", kube), "n"), Told()
    following = asyncio.create_task(runs.run())
    runs.subscribe(lambda run, gone: told.append((run.name, "gone" if gone else "known")))
    spec = RunSpec(id="p", stages=(StageSpec(id="s", count=1),))
    await runs.start(spec, at=0.0, follower="f")
    await kube.say(WatchEvent("SYNC", [], version))
    following.cancel()
    await asyncio.wait([following])
    assert told == [(run_name("p"), "known")] + [(run_name("p"), "gone")] * gone
