"""One process from the configuration file to the API: it follows a queue, its file, and its signals."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from ottoscaler.adapter.client import ClientError
from tests.component.adapter.installed import Spool
from tests.component.adapter.running import ottoscaler, running
from tests.waiting import until

LOCAL = "api: {address: '127.0.0.1:0'}\nhttp: {address: '127.0.0.1:0'}\n"

DEAF = """
import asyncio, pathlib, time, msgspec

class Settings(msgspec.Struct, frozen=True):
    pass

class Source:
    def set_queues(self, queues): pass

    def block(self):
        pathlib.Path(__file__).with_name("blocked").touch()
        time.sleep(60)

    async def run(self, publish):
        await asyncio.to_thread(self.block)

class Backend:
    block = "deaf"
    settings = Settings
    def kind(self, settings): return "deaf"
    def connection(self, settings): return "deaf"
    def source(self, settings, context): return Source()
"""
"""A source whose thread hears no cancellation."""


def write(path: Path, *entries: str, more: str = "") -> Path:
    path.write_text(f"{LOCAL}queues: [{', '.join(entries)}]\n{more}")
    return path


async def test_the_api_follows_the_queue(tmp_path: Path, spool: Spool, environ: dict[str, str]) -> None:
    spool.add("a", "b", "c")
    more = "metrics: [{name: load, of: [{queue: jobs, weight: 0.25}]}]\n"
    async with running(write(tmp_path / "c.yaml", spool.entry("jobs"), more=more), environ) as adapter:
        assert await adapter.values("queue=jobs") == ["3"]
        assert await adapter.values(metric="load") == ["750m"]
        spool.take("a")
        spool.take("b")
        spool.finish("a")

        async def counts() -> tuple[int, int]:
            (queue,) = (await adapter.status())["queues"]
            return queue["waiting"], queue["processing"]

        async def settled() -> bool:
            return await counts() == (1, 1)

        await until(settled)
        assert await adapter.values("queue=jobs") == ["2"]
        assert await adapter.values("queue=jobs", metric="queue_waiting") == ["1"]
        assert (await adapter.get("/readyz"))[0] == 200
        assert json.loads((await adapter.get("/metrics/waiting-jobs"))[1])["waitingJobs"] == 1


async def test_what_is_served_is_shown_to_people(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    spool.add("a")
    async with running(write(tmp_path / "c.yaml", spool.entry("jobs")), environ) as adapter:
        shown = await ottoscaler("metrics", "get", "queue_waiting", *adapter.access, environ=environ)
        header, row = shown.out.splitlines()
        assert header.split() == ["METRIC", "LABELS", "VALUE", "AGE"]
        assert row.split()[:3] == ["queue_waiting", "kind=spool,queue=jobs", "1"]
        names = await ottoscaler("metrics", "list", *adapter.access, environ=environ)
        assert "queue_demand" in names.out.splitlines()
        missing = await ottoscaler(
            "metrics", "get", "queue_demand", "-l", "queue=other", *adapter.access, environ=environ
        )
        assert missing.status == 1
        assert missing.err.startswith('error: queue_demand: no queue that namespace "default" may see')
        malformed = await ottoscaler(
            "metrics", "get", "queue_demand", "-l", "queue in", *adapter.access, environ=environ
        )
        assert malformed.status == 2
        stranger = [*adapter.access[:-1], "wrong"]
        refused = await ottoscaler("metrics", "get", "queue_demand", *stranger, environ=environ)
        assert (refused.status, refused.err) == (1, "error: Unauthorized\n")


async def test_a_backend_that_goes_is_held_then_an_error_and_never_a_zero(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    spool.add("a", "b")
    config = write(tmp_path / "c.yaml", spool.entry("jobs", extra=", maxAge: 2s"))
    async with running(config, environ) as adapter:
        assert await adapter.values() == ["2"]
        away = spool.directory.rename(tmp_path / "away")
        answers: list[str] = []

        async def unavailable() -> bool:
            try:
                answers.extend(await adapter.values())
            except ClientError as error:
                assert error.status == 503
                assert "its directory cannot be read: No such file or directory" in str(error)
                assert "the HPA holds its replicas" in str(error)
                return True
            return False

        await until(unavailable)
        assert (await adapter.get("/readyz"))[0] == 200, "a backend makes no pod unready"
        away.rename(spool.directory)

        async def back() -> bool:
            with suppress(ClientError):
                return await adapter.values() == ["2"]
            return False

        await until(back)
        assert set(answers) == {"2"}


async def test_a_changed_file_and_sighup_are_followed_without_a_gap(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    spool.add("a")
    path = write(tmp_path / "c.yaml", spool.entry("jobs"))
    async with running(path, environ) as adapter:
        write(path, spool.entry("jobs"), spool.entry("more"))
        await until(lambda: adapter.events("configuration applied"))

        async def both() -> bool:
            with suppress(ClientError):  # until the new queue is measured, the whole is unknown
                return await adapter.values() == ["1", "1"]
            return False

        await until(both)
        path.write_text(f"{LOCAL}queues:\n  - name: jobs\n    spol: {{}}\n")
        adapter.process.send_signal(signal.SIGHUP)
        await until(lambda: adapter.events("configuration refused, the old one stays in use"))
        status = await adapter.status()
        assert status["configuration"]["lastReloadSuccessful"] is False
        assert (
            f'{path}:5: queues[0].spol: unknown key, did you mean "spool"?'
            in status["configuration"]["error"]
        )
        assert await adapter.values() == ["1", "1"]


async def test_sigterm_ends_it_cleanly(tmp_path: Path, spool: Spool, environ: dict[str, str]) -> None:
    async with running(write(tmp_path / "c.yaml", spool.entry("jobs")), environ) as adapter:
        assert await adapter.terminate() == 0
    assert [line["event"] for line in adapter.log[-2:]] == [
        "stopping: not ready from now on, gone in a few seconds",
        "stopped",
    ]


async def test_sigterm_ends_it_even_when_a_source_does_not(tmp_path: Path) -> None:
    info = tmp_path / "deaf-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deaf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ottoscaler.backends]\ndeaf = deaf:Backend\n")
    (tmp_path / "deaf.py").write_text(DEAF)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    async with running(write(tmp_path / "c.yaml", "{name: jobs, deaf: {}}"), environ) as adapter:
        await until(lambda: (tmp_path / "blocked").exists())
        assert await adapter.terminate() == 0
    assert adapter.events("something does not end: leaving it behind")


async def test_a_bad_configuration_is_all_its_problems_and_status_2(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("queues: [{name: jobs}]\nhttp: {}\nlogs: {}\n")
    ended = await ottoscaler("adapter", "--config", path, "--standalone", environ=environ)
    assert ended.status == 2
    assert ended.err.splitlines() == [
        f"{path}:1: queues[0]: has no backend: add one of firebase, firestore, prometheus, redis, spool",
        f'{path}:3: logs: unknown key, did you mean "log"?',
    ]


async def test_what_keeps_it_from_starting_is_one_line(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    path = write(tmp_path / "c.yaml", spool.entry("jobs"))
    async with running(path, environ) as adapter:
        taken = adapter.http.removeprefix("http://")
        path.write_text(
            path.read_text().replace("http: {address: '127.0.0.1:0'}", f"http: {{address: '{taken}'}}")
        )
        second = await ottoscaler("adapter", "--config", path, "--standalone", environ=environ)
        assert second.status == 1
        assert second.err.splitlines()[-1] == (
            f"ottoscaler adapter: http.address {taken} cannot be served: Address already in use"
        )
    nowhere = {**environ, "KUBECONFIG": str(tmp_path / "none")}
    nowhere.pop("KUBERNETES_SERVICE_HOST", None)
    alone = await ottoscaler("adapter", "--config", path, environ=nowhere)
    assert alone.status == 1
    assert alone.err.splitlines()[-1].startswith("ottoscaler adapter: no API server: not in a pod")
    assert alone.err.splitlines()[-1].endswith("without a cluster, run with --standalone")
