"""The test server is judged by a client that this project did not write: `firebase_admin.db`."""

import asyncio
import contextlib
import os
import queue
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest import mock

import firebase_admin
import pytest
from firebase_admin import db, exceptions

from tests.rtdb import Fault, RtdbServer
from tests.waiting import until

JOBS = {
    "a": {"status": "pending", "createdAt": 3, "n": 1},
    "b": {"status": "processing", "createdAt": 1, "n": 2},
    "c": {"status": "failed", "createdAt": 2, "n": 3},
}


@contextlib.asynccontextmanager
async def connected(root: Any = None) -> AsyncIterator[tuple[RtdbServer, Callable[[str], Any]]]:
    """A server holding `root`, and what makes references to its paths as the emulator's client does."""
    async with RtdbServer() as server:
        server.write("", root)
        with mock.patch.dict(os.environ, {"FIREBASE_DATABASE_EMULATOR_HOST": server.address}):
            app = firebase_admin.initialize_app(
                options={"databaseURL": "https://demo.firebaseio.com", "httpTimeout": 5},
                name=f"test-{server.port}",
            )
            try:
                yield server, lambda path: db.reference(path, app=app)
            finally:
                await asyncio.to_thread(firebase_admin.delete_app, app)


async def test_values_are_set_and_read() -> None:
    async with connected() as (_, reference):
        for value in ({"x": 1, "y": {"z": [1.5, True, "ü"]}}, 5, 2.5, "text", True, False):
            await asyncio.to_thread(reference("node").set, value)
            assert await asyncio.to_thread(reference("node").get) == value
        await asyncio.to_thread(reference("node").delete)
        assert await asyncio.to_thread(reference("node").get) is None


async def test_nulls_and_empty_objects_are_pruned() -> None:
    async with connected() as (server, reference):
        await asyncio.to_thread(reference("a").set, {"keep": 1, "gone": {"deep": {}}})
        assert await asyncio.to_thread(reference("a").get) == {"keep": 1}
        await asyncio.to_thread(reference("a/keep").delete)
        assert server.database().root is None


async def test_objects_with_mostly_filled_indices_are_arrays() -> None:
    async with connected({"dense": {"0": "a", "2": "c"}, "sparse": {"0": "a", "9": "b"}}) as (_, reference):
        assert await asyncio.to_thread(reference("dense").get) == ["a", None, "c"]
        assert await asyncio.to_thread(reference("sparse").get) == {"0": "a", "9": "b"}
        assert await asyncio.to_thread(reference("dense/2").get) == "c"


async def test_keys_come_in_order() -> None:
    async with connected(dict.fromkeys(["b", "10", "a", "9", "Z"], 1)) as (_, reference):
        assert list(await asyncio.to_thread(reference("/").get)) == ["9", "10", "Z", "a", "b"]


async def test_shallow_reads_show_keys_only() -> None:
    async with connected({"jobs": JOBS, "n": 5}) as (_, reference):
        shown = await asyncio.to_thread(reference("jobs").get, False, True)
        assert shown == dict.fromkeys("abc", True)
        assert await asyncio.to_thread(reference("n").get, False, True) == 5


async def test_several_paths_are_updated_at_once() -> None:
    async with connected({"jobs": JOBS}) as (_, reference):
        await asyncio.to_thread(
            reference("jobs").update, {"a/status": "processing", "b": None, "d/new/deep": 1}
        )
        jobs = await asyncio.to_thread(reference("jobs").get)
        assert set(jobs) == {"a", "c", "d"}
        assert jobs["a"] == JOBS["a"] | {"status": "processing"}
        assert jobs["d"] == {"new": {"deep": 1}}


async def test_pushed_children_sort_by_time() -> None:
    async with connected() as (_, reference):
        names = [(await asyncio.to_thread(reference("list").push, number)).key for number in range(20)]
        assert names == sorted(names)
        assert all(len(name) == 20 for name in names)
        assert list((await asyncio.to_thread(reference("list").get)).values()) == list(range(20))


async def test_transactions_see_each_other() -> None:
    async with connected({"counter": 0}) as (_, reference):
        await asyncio.gather(
            *(
                asyncio.to_thread(reference("counter").transaction, lambda value: (value or 0) + 1)
                for _ in range(8)
            )
        )
        assert await asyncio.to_thread(reference("counter").get) == 8


async def test_etags_guard_reads_and_writes() -> None:
    async with connected({"jobs": JOBS}) as (_, reference):
        jobs = reference("jobs")
        value, etag = await asyncio.to_thread(jobs.get, True)
        assert value == JOBS
        assert await asyncio.to_thread(jobs.get_if_changed, etag) == (False, None, None)
        done, _, _ = await asyncio.to_thread(jobs.set_if_unchanged, "another", {"x": 1})
        assert not done
        done, _, new = await asyncio.to_thread(jobs.set_if_unchanged, etag, {"x": 1})
        assert done
        changed, value, seen = await asyncio.to_thread(jobs.get_if_changed, etag)
        assert (changed, value, seen) == (True, {"x": 1}, new)


@pytest.mark.parametrize(
    ("build", "keys"),
    [
        (lambda ref: ref.order_by_child("createdAt"), ["b", "c", "a"]),
        (lambda ref: ref.order_by_child("status").equal_to("failed"), ["c"]),
        (lambda ref: ref.order_by_child("createdAt").start_at(2), ["c", "a"]),
        (lambda ref: ref.order_by_child("createdAt").end_at(2), ["b", "c"]),
        (lambda ref: ref.order_by_child("createdAt").start_at(2).end_at(2), ["c"]),
        (lambda ref: ref.order_by_child("createdAt").limit_to_first(1), ["b"]),
        (lambda ref: ref.order_by_child("createdAt").limit_to_last(2), ["c", "a"]),
        (lambda ref: ref.order_by_key().start_at("b"), ["b", "c"]),
        (lambda ref: ref.order_by_key().limit_to_last(1), ["c"]),
        (lambda ref: ref.order_by_child("nobody"), ["a", "b", "c"]),
    ],
)
async def test_queries(build: Callable[[Any], Any], keys: list[str]) -> None:
    async with connected({"jobs": JOBS}) as (server, reference):
        server.database().rules = {"rules": {"jobs": {".indexOn": ["status", "createdAt", "nobody"]}}}
        found = await asyncio.to_thread(build(reference("jobs")).get)
        assert list(found) == keys
        assert found == {key: JOBS[key] for key in keys}


async def test_values_are_ordered_by_type_then_value() -> None:
    values = {"s": "x", "n": 5, "f": False, "t": True, "m": -1, "o": {"y": 1}}
    async with connected({"mixed": values}) as (server, reference):
        server.database().rules = {"rules": {"mixed": {".indexOn": ".value"}}}
        assert list(await asyncio.to_thread(reference("mixed").order_by_value().get)) == list("ftmnso")


async def test_a_query_without_an_index_is_refused() -> None:
    async with connected({"jobs": JOBS}) as (_, reference):
        with pytest.raises(exceptions.InvalidArgumentError, match="Index not defined"):
            await asyncio.to_thread(reference("jobs").order_by_child("status").get)


async def test_a_listener_hears_every_kind_of_write() -> None:
    heard: queue.Queue[tuple[str, str, Any]] = queue.Queue()
    async with connected({"jobs": {"a": JOBS["a"]}}) as (server, reference):
        registration = await asyncio.to_thread(
            reference("jobs").listen, lambda event: heard.put((event.event_type, event.path, event.data))
        )
        try:
            await until(lambda: server.streams, what="the stream is open")
            await asyncio.to_thread(reference("jobs/b").set, JOBS["b"])
            await asyncio.to_thread(reference("jobs").update, {"a/status": "failed", "c": JOBS["c"]})
            await asyncio.to_thread(reference("jobs/b/status").delete)
            await asyncio.to_thread(reference("jobs/b").delete)
            await asyncio.to_thread(reference("jobs").set, {"z": {"n": 1}})
            await asyncio.to_thread(reference("/").delete)
            events = [await asyncio.to_thread(heard.get, True, 10) for _ in range(7)]
        finally:
            # this client can be closed safely only in the 3 s between two of its connections
            server.disturb(Fault(what="end", where="running"))
            await until(lambda: not server.streams, what="the stream has ended")
            await asyncio.to_thread(registration.close)
    assert events == [
        ("put", "/", {"a": JOBS["a"]}),
        ("put", "/b", JOBS["b"]),
        ("patch", "/", {"a/status": "failed", "c": JOBS["c"]}),
        ("put", "/b/status", None),
        ("put", "/b", None),
        ("put", "/", {"z": {"n": 1}}),
        ("put", "/", None),
    ]


async def test_server_timestamps_and_increments() -> None:
    async with connected({"n": 2}) as (_, reference):
        await asyncio.to_thread(reference("t").set, {".sv": "timestamp"})
        assert await asyncio.to_thread(reference("t").get) > 1_700_000_000_000
        await asyncio.to_thread(reference("n").set, {".sv": {"increment": 3}})
        assert await asyncio.to_thread(reference("n").get) == 5


async def test_a_bad_key_is_refused_and_nothing_is_written() -> None:
    async with connected({"a": 1}) as (server, reference):
        with pytest.raises(exceptions.InvalidArgumentError):
            await asyncio.to_thread(reference("/").update, {"good": 1, "child": {"b#d": 2}})
        assert server.database().root == {"a": 1}


async def test_namespaces_are_separate() -> None:
    async with connected({"a": 1}) as (server, reference):
        server.write("a", 2, namespace="other")
        assert await asyncio.to_thread(reference("a").get) == 1
