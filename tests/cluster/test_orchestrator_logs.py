"""Every line of every worker reaches the handler once and in order, or is announced as dropped.

The sizes of the first test come from the environment: `make proof-orchestrator-logs` makes them large and
keeps its report.
"""

import os
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cluster.launcher import Cluster
from tests.cluster.orchestrator.loud import Account, play, writing
from tests.cluster.orchestrator.scene import scene
from tests.orchestrator.handler_process import HandlerProcess, Manners
from tests.waiting import until

SEED = int(os.environ.get("OTTOSCALER_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
WORKERS = int(os.environ.get("OTTOSCALER_WORKERS", "12"))
LINES = int(os.environ.get("OTTOSCALER_LINES", "300"))
REPORT = os.environ.get("OTTOSCALER_REPORT", "")
FLAT = 8.0
"""MiB that the process may still grow by once buffers have been full, whatever the number of lines."""


async def test_a_handler_that_retries_throttles_hangs_and_is_killed(namespace: str, kubeconfig: Path) -> None:
    print(f"seed {SEED}: {WORKERS} workers of {LINES} lines")
    account = await play(kubeconfig, namespace, workers=WORKERS, lines=LINES, seed=SEED)
    print(*account.report(), sep="\n")
    assert not account.problems, f"seed {SEED}: {account.problems[:5]}"
    assert account.record.lines + account.record.announced == WORKERS * LINES
    assert account.retried > 0
    assert account.growth < FLAT
    if REPORT:
        Path(REPORT).write_text(written(account))


def written(account: Account) -> str:
    """The report as it is kept."""
    return "\n".join(
        [
            "# Workers' logs and a handler that misbehaves",
            "",
            (
                "`make proof-orchestrator-logs`, on the real control plane of `tests/cluster`, with worker pods that"
                " really write and a handler that is a process of its own. It answers RETRY to 2 % of all entries"
                " (half with a throttle), throttles another 0.5 %, breaks the stream over 0.2 % (half of them after"
                " it took the entry), is killed four times, hangs for a second, and is once away for longer than"
                " buffers wait."
            ),
            "",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC:",
            "",
            *(f"- {line}" for line in account.report()),
            "",
            (
                "What memory may grow by is judged from 30 % of the lines on: the outage before has filled the buffer of"
                " every worker, and from there on the number of lines costs nothing."
            ),
            "",
        ]
    )


async def until_all_go_on(handler: HandlerProcess, names: Iterable[str], lines: int) -> None:
    """Until something new has come of each worker that had not written all its `lines` before."""
    record = handler.record
    before = {name: len(record.entries[name]) for name in names}
    await until(
        lambda: all(
            len(handler.record.entries[name]) > count or count == lines for name, count in before.items()
        ),
        within=60,
        what="the logs go on",
    )


async def test_a_handler_that_is_away_slows_no_worker(namespace: str, kubeconfig: Path) -> None:
    lines = 3000
    async with scene(kubeconfig, namespace) as here:
        handler = HandlerProcess(here.directory, Manners())
        settings = here.settings(
            f"echo $OTTO_WORKER_ID >> /evidence/ran; seq -f 'line %g' {lines}",
            handler={"address": handler.address, "handover": "1s"},
            logs={"bufferLines": 500, "pressure": "1s"},
        )
        async with here.replica(settings):
            await here.scale_up("unheard", 2)
            ran = await here.until_ran(2)
            await here.until_gone(within=30)
            async with handler:
                await until(
                    lambda: not any(handler.record.problem(name, lines) for name in ran),
                    what="what was kept comes, and what was not is announced",
                )
                assert handler.record.announced >= 2 * (lines - 600)
                await until(
                    lambda: all(
                        handler.record.stages[name] == ["CREATED", "RUNNING", "COMPLETED"] for name in ran
                    ),
                    what="what became of them is told",
                )


async def test_a_worker_whose_stream_stalls_delays_no_other(namespace: str, kubeconfig: Path) -> None:
    script = (
        "echo $OTTO_WORKER_ID >> /evidence/ran; "
        "[ $OTTO_WORKER_INDEX = 1 ] && echo stall; i=0; "
        'while [ $i -lt 50 ]; do i=$((i+1)); echo "line $i"; done; exit 0'
    )
    async with (
        scene(kubeconfig, namespace) as here,
        HandlerProcess(here.directory, Manners(deaf_to="stall")) as handler,
    ):
        settings = here.settings(script, handler={"address": handler.address}, logs={"streams": 2})
        async with here.replica(settings):
            await here.scale_up("stalled", 6)
            ran = await here.until_ran(6)
            (stalled,) = [name for name in ran if name.endswith("-1")]
            await until(
                lambda: not any(handler.record.problem(name, 50) for name in ran if name != stalled),
                within=20,
                what="the others' lines come",
            )
            assert not handler.record.entries[stalled]
            await until(
                lambda: all(handler.record.stages[name][-1:] == ["COMPLETED"] for name in ran),
                within=20,
                what="also the stalled one's end is told",
            )


@pytest.mark.own_cluster
async def test_the_deaths_of_apiserver_and_orchestrator_lose_and_repeat_nothing(
    namespace: str, kubeconfig: Path, cluster: Cluster
) -> None:
    """After a kill of the orchestrator what comes again bears its old number; after SIGTERM nothing does."""
    lines = 600
    async with (
        scene(kubeconfig, namespace) as here,
        HandlerProcess(here.directory, Manners()) as handler,
    ):
        settings = here.settings(writing(lines, pause=0.7), handler={"address": handler.address})
        async with here.replica(settings) as replica:
            await here.scale_up("broken", 3)
            ran = await here.until_ran(3)
            await until_all_go_on(handler, ran, lines)
            await replica.kill()
            before = handler.record.lines
            await replica.start()
            await until_all_go_on(handler, ran, lines)
            repeated = handler.record.repeated
            assert repeated <= before, "at most what came since the last mark"
            assert await replica.end(within=12) == 0
            await replica.start()
            await until_all_go_on(handler, ran, lines)
            assert handler.record.repeated == repeated
            await cluster.command("restart", "apiserver")
            await here.until_gone(within=60)
            record = handler.record
            assert not [problem for name in ran if (problem := record.problem(name, lines))]
            assert record.announced == 0
            print(f"{repeated} lines came again, under their numbers, after the kill; none after SIGTERM")
            for name in ran:
                assert list(dict.fromkeys(record.stages[name])) == ["CREATED", "RUNNING", "COMPLETED"]


async def test_a_log_is_followed_through_its_rotation(namespace: str, kubeconfig: Path) -> None:
    """13 MB through files of at most 10 MiB, once the log is followed: what went before is not there to be read."""
    async with scene(kubeconfig, namespace) as here:
        script = (
            "echo $OTTO_WORKER_ID >> /evidence/ran; "
            "echo 0; while [ ! -e /evidence/go ]; do sleep 0.1; done; "
            "rest=$(head -c 9990 /dev/zero | tr '\\0' .); i=0; "
            "while [ $i -lt 1300 ]; do i=$((i+1)); echo $i$rest; done"
        )
        async with here.replica(here.settings(script, handler={"handover": "60s"})):
            await here.scale_up("rotated", 1)
            (name,) = await here.until_ran(1)
            await until(lambda: here.handler.received.lines(name), within=60.0, what="the log is followed")
            (here.directory / "evidence" / "go").touch()
            await here.until_gone()
            assert here.handler.received.dropped(name) == 0
            assert [int(line.rstrip(".")) for line in here.handler.received.lines(name)] == list(range(1301))


async def test_long_lines_come_whole_or_say_what_was_cut(namespace: str, kubeconfig: Path) -> None:
    async with scene(kubeconfig, namespace) as here:
        script = (
            "echo $OTTO_WORKER_ID >> /evidence/ran; "
            "head -c 20000 /dev/zero | tr '\\0' x; echo; head -c 100000 /dev/zero | tr '\\0' y; echo; "
            "head -c 12 /dev/zero | tr '\\0' z"
        )
        async with here.replica(here.settings(script)):
            await here.scale_up("long", 1)
            await here.until_ran(1)
            await here.until_gone()
            (entries,) = here.handler.received.entries.values()
            assert [len(each.message) for each in entries] == [20000, 65536, 12]
            assert [each.metadata.get("truncated_bytes") for each in entries] == [
                None,
                str(100000 - 65536),
                None,
            ]
