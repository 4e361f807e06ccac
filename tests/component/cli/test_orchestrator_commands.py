"""Commands against the orchestrator's own server in mock mode: what people type, and what they get."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.orchestrator.commands import Command, ottoscaler
from tests.orchestrator.replica import Replica
from tests.ports import free_port

FAILS = {"name": "OTTO_CONFIG_MOCK_EXIT_CODE", "value": "3"}


@asynccontextmanager
async def mocked(
    directory: Path, *, seconds: float = 0.1, **settings: Any
) -> AsyncIterator[tuple[Replica, tuple[str, str]]]:
    """The server, whose workers take `seconds` unless told otherwise, and the option that leads to it."""
    lasting = {"name": "OTTO_CONFIG_MOCK_SECONDS", "value": str(seconds)}
    template = {"spec": {"containers": [{"name": "worker", "env": [lasting]}]}}
    settings = {"mock": True, "workers": {"template": template}, **settings}
    async with Replica(directory, settings) as replica:
        yield replica, ("--server", replica.address)


def pipeline(directory: Path, *stages: dict[str, Any], **more: Any) -> Path:
    """A file with these stages."""
    path = directory / "pipeline.yaml"
    path.write_text(json.dumps({"stages": stages, **more}))
    return path


async def test_workers_up_and_down(tmp_path: Path) -> None:
    async with mocked(tmp_path, seconds=600) as (_, server):
        up = await ottoscaler("scale", "up", "--workers", "3", "--task", "task-123", *server)
        assert (up.status, up.err) == (0, "")
        message, *names = up.out.splitlines()
        assert message == "created 3 workers for task task-123"
        assert [name.startswith("otto-agent-task-123-") for name in names] == [True] * 3

        shown = await ottoscaler("scale", "status", "--task", "task-123", "-o", "json", *server)
        assert shown.json["total_count"] == 3
        assert [each["pod_name"] for each in shown.json["workers"]] == names

        down = await ottoscaler(
            "scale", "down", "--workers", "1", "--task", "task-123", "-o", "json", *server
        )
        assert (down.json["status"], down.json["processed_count"]) == ("SUCCESS", 2)
        assert set(down.json["worker_pod_names"]) < set(names)

        await ottoscaler("scale", "up", "--task", "Aufgabe Ü 日本", *server)
        narrow = await ottoscaler("scale", "status", *server, PYTHONIOENCODING="ascii")
        assert (narrow.status, "Aufgabe ? ??" in narrow.out) == (0, True), "whatever a terminal can show"

        none = await ottoscaler("scale", "down", "--workers", "0", "--task", "task-123", "--watch", *server)
        assert none.status == 0
        assert none.out.splitlines()[-1].endswith("  gone")


async def test_workers_watched_to_their_end(tmp_path: Path) -> None:
    async with mocked(tmp_path) as (_, server):
        watched = await ottoscaler("scale", "up", "--workers", "2", "--watch", *server)
        assert watched.status == 0
        assert watched.out.startswith("created 2 workers for task task-")
        last = {name: state for name, _, state in (each.partition("  ") for each in watched.out.splitlines())}
        assert list(last.values()).count("gone") + list(last.values()).count("Succeeded") == 2
        failing = {"spec": {"containers": [{"name": "worker", "env": [FAILS]}]}}
    async with mocked(tmp_path, workers={"template": failing}) as (_, server):
        watched = await ottoscaler("scale", "up", "--workers", "2", "--watch", *server)
        assert (watched.status, watched.err) == (1, "error: 2 of 2 workers failed\n")
        assert watched.out.count("  Failed: exited with code 3") == 2


async def test_a_watch_shows_every_change_until_it_is_interrupted(tmp_path: Path) -> None:
    async with mocked(tmp_path, seconds=600) as (replica, server):
        async with Command("scale", "status", "--watch", *server) as watch:
            assert await watch.line() == "0 workers: 0 pending, 0 running, 0 succeeded, 0 failed"
            await ottoscaler("scale", "up", "--task", "seen", *server)
            line = await watch.until_line("otto-agent-seen")
            assert line.partition("  ")[2] in {"Pending", "Running"}
            await ottoscaler("scale", "down", "--task", "seen", "--workers", "0", *server)
            await watch.until_line("gone")
            watch.interrupt()
            ended = await watch.end()
        assert (ended.status, ended.err) == (130, "")
        async with Command("scale", "status", "--watch", "-o", "json", "--timeout", "3s", *server) as watch:
            assert json.loads(await watch.line())["total_count"] == 0
            await replica.end()
            ended = await watch.end()
        assert ended.status == 1
        assert ended.err.startswith(f"error: {replica.address} cannot be reached: nothing listens there")


async def test_a_pipeline_that_succeeds_at_the_third_attempt(tmp_path: Path) -> None:
    flaky = {"id": "test", "dependsOn": ["build"], "workers": 2, "config": {"mock_failures": "2"}}
    file = pipeline(tmp_path, {"id": "build"}, {**flaky, "retry": {"attempts": 3}}, name="release")
    async with mocked(tmp_path) as (_, server):
        ended = await ottoscaler("pipeline", "run", "--file", file, "--sha", "abc123", *server)
        assert (ended.status, ended.err) == (0, "")
        said = [line.partition(" ")[2] for line in ended.out.splitlines()]
        assert said[0] == "pipeline running 0%: pipeline release with 2 stages"
        assert said.count("test running 0%: test: 0 of 2 workers done") == 1
        assert any(line.startswith("test running") and "attempt 3 of 3" in line for line in said)
        assert said[-2] == "test completed 100%: test: completed"
        assert said[-1].startswith("pipeline completed 100%: pipeline completed after ")


async def test_a_pipeline_that_fails_is_exit_status_1(tmp_path: Path) -> None:
    bad = {"id": "test", "config": {"mock_exit_code": "4"}}
    file = pipeline(tmp_path, bad, {"id": "deploy", "dependsOn": ["test"]}, id="release-1")
    async with mocked(tmp_path) as (_, server):
        ended = await ottoscaler("pipeline", "run", "--file", file, "-o", "json", *server)
        assert ended.status == 1
        assert ended.err == (
            "error: pipeline release-1 failed: stage test: 1 of 1 workers failed: exited with code 4\n"
        )
        last = {each["stage_id"]: each["status"] for each in ended.lines}
        assert last == {"test": "STAGE_FAILED", "deploy": "STAGE_SKIPPED", "": "STAGE_FAILED"}


async def test_an_interruption_cancels_the_pipeline_and_says_so(tmp_path: Path) -> None:
    file = pipeline(tmp_path, {"id": "long", "config": {"mock_seconds": "600"}}, id="release-1")
    async with mocked(tmp_path) as (_, server):
        async with Command("pipeline", "run", "--file", file, *server) as running:
            await running.until_line("long running")
            running.interrupt()
            ended = await running.end()
        assert ended.status == 130
        assert ended.err == (
            "pipeline release-1 is cancelled, unless another call follows it: its workers are removed\n"
        )
        again = await ottoscaler("pipeline", "run", "--file", file, *server)
        assert (again.status, again.err) == (1, "error: pipeline release-1 cancelled\n")
        left = await ottoscaler("scale", "status", "-o", "json", *server)
        assert left.json["running_count"] + left.json["pending_count"] == 0


async def test_a_pipeline_that_takes_too_long_is_cancelled(tmp_path: Path) -> None:
    file = pipeline(tmp_path, {"id": "long", "config": {"mock_seconds": "600"}}, id="release-1")
    async with mocked(tmp_path) as (_, server):
        ended = await ottoscaler("pipeline", "run", "--file", file, "--timeout", "4s", *server)
        assert ended.status == 1
        assert ended.err == (
            "error: pipeline release-1 took longer than 4s and is cancelled: --timeout allows more\n"
        )


async def test_a_call_that_breaks_off_is_made_again_under_the_same_id(tmp_path: Path) -> None:
    file = pipeline(tmp_path, {"id": "long", "config": {"mock_seconds": "3"}}, id="release-1")
    async with mocked(tmp_path) as (replica, server):
        async with Command("pipeline", "run", "--file", file, *server) as running:
            await running.until_line("long running")
            await replica.kill()
            line = await running.until_line("asking again")
            assert line.startswith(replica.address)
            await replica.start()
            ended = await running.end()
        assert ended.status == 0
        assert ended.out.splitlines()[-1].partition(" ")[2].startswith("pipeline completed 100%")


async def test_the_examples_run(tmp_path: Path) -> None:
    async with mocked(tmp_path) as (_, server):
        run = ("pipeline", "run", "-o", "json", *server)
        kinds = ("simple", "full", "parallel")
        for ended in await asyncio.gather(*(ottoscaler(*run, "--type", each) for each in kinds)):
            assert ended.status == 0, ended.err
            assert ended.lines[-1]["progress_percentage"] == 100


async def test_a_refusal_and_a_server_that_is_away_are_one_line(tmp_path: Path) -> None:
    nobody = f"localhost:{free_port()}"
    async with mocked(tmp_path) as (replica, server):
        refused = await ottoscaler("scale", "up", "--workers", "5000", *server)
        assert (refused.status, refused.out) == (2, "")
        assert refused.err == (
            f"error: {replica.address} refuses this: "
            "worker_count is 5000: at most 1000 workers may be asked for at once\n"
        )
        file = pipeline(tmp_path, {"id": "a", "workers": 2000}, id="x")
        refused = await ottoscaler("pipeline", "run", "--file", file, *server)
        assert refused.status == 2
        assert refused.err.endswith("stage 'a': worker_count is 2000: at most 1000 are allowed\n")
    away = await ottoscaler("scale", "status", "--server", nobody)
    assert (away.status, away.out) == (1, "")
    assert away.err == (
        f"error: {nobody} cannot be reached: nothing listens there: "
        "is the orchestrator running, and is --server right?\n"
    )
