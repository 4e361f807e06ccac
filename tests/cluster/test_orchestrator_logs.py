"""Every line of every worker reaches the handler once and in order, or is announced as dropped."""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from tests.cluster.launcher import Cluster
from tests.cluster.orchestrator.scene import Scene, scene
from tests.orchestrator.handler import Answer
from tests.waiting import until

SEED = int(os.environ.get("OTTOSCALER_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
WORKERS = int(os.environ.get("OTTOSCALER_WORKERS", "20"))
LINES = int(os.environ.get("OTTOSCALER_LINES", "300"))


def writing(lines: int) -> str:
    """A worker that writes numbered lines in bursts."""
    return (
        "echo $OTTO_WORKER_ID >> /evidence/ran; i=0; "
        f'while [ $i -lt {lines} ]; do i=$((i+1)); echo "line $i"; [ $((i%100)) = 0 ] && sleep 0.3; done; exit 0'
    )


def difficult(rng: random.Random) -> Callable[[pb.WorkerLogEntry], Answer]:
    """A handler that wants some lines again, and some a little later."""

    def answer(entry: pb.WorkerLogEntry) -> Answer:
        chance = rng.random()
        if chance < 0.02:
            return Answer(status=Answer.RETRY)
        if chance < 0.03:
            return Answer(status=Answer.RETRY, throttle_ms=20)
        return Answer(status=Answer.ACK, throttle_ms=5 if chance < 0.035 else 0)

    return answer


def missing(here: Scene, worker: str, lines: int) -> str:
    """What is wrong with a worker's lines; empty when each came once and in order, or was announced."""
    got = here.handler.received.lines(worker)
    numbers = [int(each.removeprefix("line ")) for each in got]
    if numbers != sorted(set(numbers)):
        return f"{worker}: not once and in order"
    dropped = here.handler.received.dropped(worker)
    if len(numbers) + dropped != lines:
        return f"{worker}: {len(numbers)} lines and {dropped} announced, of {lines}"
    return ""


async def test_a_handler_that_retries_throttles_and_restarts(namespace: str, kubeconfig: Path) -> None:
    print(f"seed {SEED}: {WORKERS} workers of {LINES} lines")
    rng = random.Random(SEED)
    async with scene(kubeconfig, namespace) as here:
        here.handler.answer = difficult(rng)
        settings = here.settings(writing(LINES), handler={"handover": "120s"}, logs={"pressure": "120s"})
        async with here.replica(settings) as replica:
            before = replica.rss
            await here.scale_up("loud", WORKERS)
            ran = await here.until_ran(WORKERS, within=120)
            peak = before
            for _ in range(3):
                reached = sum(map(len, here.handler.received.entries.values()))
                await until(
                    lambda reached=reached: (
                        sum(map(len, here.handler.received.entries.values()))
                        > min(reached + WORKERS * LINES // 8, WORKERS * LINES * 0.9)
                    ),
                    within=120,
                    what="lines come",
                )
                peak = max(peak, replica.rss)
                await here.handler.stop()
                await asyncio.sleep(rng.uniform(0, 0.09))
                await here.handler.start()
            await here.until_gone(within=300)
            peak = max(peak, replica.rss)
            wrong = [problem for name in ran if (problem := missing(here, name, LINES))]
            assert not wrong, f"seed {SEED}: {wrong[:5]}"
            assert len(ran) == WORKERS
            received = here.handler.received
            print(
                f"RSS {before:.0f} MiB before, {peak:.0f} MiB at most; {received.repeated} entries came again"
            )
            assert peak - before < 64 + 20, "bounded by the budget of the buffers"


async def test_a_handler_that_is_away_slows_no_worker(namespace: str, kubeconfig: Path) -> None:
    lines = 3000
    async with scene(kubeconfig, namespace) as here:
        await here.handler.stop()
        settings = here.settings(
            f"echo $OTTO_WORKER_ID >> /evidence/ran; seq -f 'line %g' {lines}",
            handler={"handover": "1s"},
            logs={"bufferLines": 500, "pressure": "1s"},
        )
        async with here.replica(settings) as replica:
            await here.scale_up("unheard", 2)
            ran = await here.until_ran(2)
            await here.until_gone(within=30)
            await here.handler.start()
            await until(
                lambda: not any(missing(here, name, lines) for name in ran),
                what="what was kept comes, and what was not is announced",
            )
            for name in ran:
                assert here.handler.received.dropped(name) >= lines - 600
                assert here.handler.received.stages(name) == ["CREATED", "RUNNING", "COMPLETED"]
            assert await replica.metric("otto_log_lines_total") >= 2 * lines


@pytest.mark.own_cluster
async def test_streams_that_break_lose_and_repeat_nothing(
    namespace: str, kubeconfig: Path, cluster: Cluster
) -> None:
    async with scene(kubeconfig, namespace) as here, here.replica(here.settings(writing(800))):
        await here.scale_up("broken", 3)
        ran = await here.until_ran(3)
        await until(lambda: all(here.handler.received.lines(name) for name in ran), what="lines come")
        await cluster.command("restart", "apiserver")
        await here.until_gone(within=60)
        for name in ran:
            assert not missing(here, name, 800)
            assert here.handler.received.dropped(name) == 0
