"""A recording of real queues: read by the command itself, or from an adapter that runs."""

import csv
from pathlib import Path

from tests.component.adapter.installed import Spool
from tests.component.adapter.running import ottoscaler, running
from tests.component.adapter.test_process import write

QUICK = ("--interval", "300ms", "--samples", "2")


def rows(path: Path) -> list[tuple[str, str, str, str]]:
    with path.open() as file:
        return [
            (row["queue"], row["waiting"], row["processing"], row["error"]) for row in csv.DictReader(file)
        ]


async def test_queues_are_read_by_the_command_itself(
    tmp_path: Path, spool: Spool, environ: dict[str, str]
) -> None:
    spool.add("a", "b")
    spool.take("a")
    config = write(tmp_path / "c.yaml", spool.entry("jobs"), Spool(tmp_path / "none").entry("gone"))
    (tmp_path / "none" / "new").rmdir()
    out = tmp_path / "trace.csv"
    ended = await ottoscaler("record", "--out", out, "--config", config, *QUICK, environ=environ)
    assert ended.status == 0, ended.err
    missing = "its directory cannot be read: No such file or directory"
    assert rows(out) == [("jobs", "1", "1", ""), ("gone", "", "", missing)] * 2


async def test_an_adapter_that_runs_is_asked(tmp_path: Path, spool: Spool, environ: dict[str, str]) -> None:
    spool.add("a")
    out = tmp_path / "trace.csv"
    async with running(write(tmp_path / "c.yaml", spool.entry("jobs")), environ) as adapter:
        ended = await ottoscaler("record", "--out", out, "--url", adapter.http, *QUICK, environ=environ)
        assert ended.status == 0, ended.err
        assert rows(out) == [("jobs", "1", "0", "")] * 2
    ended = await ottoscaler("record", "--out", out, "--url", adapter.http, *QUICK, environ=environ)
    assert ended.status == 1
    assert ended.err.startswith(f"error: {adapter.http} gives no status: ")
    assert ended.err.count("\n") == 1
