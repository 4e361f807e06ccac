"""How long a launch goes on about pods that are refused, and what a later order makes of it."""

import asyncio
from typing import Any

import pytest

from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Params, pods_path
from ottoscaler.orchestrator.launch import Launch, Launcher, OrderLost, Patience
from ottoscaler.orchestrator.mock.cluster import MockCluster
from ottoscaler.orchestrator.orders import Facts, Origin, ScaleUp
from ottoscaler.orchestrator.scaling import curtail, specs_of
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import PodDefaults, WorkerSpec
from ottoscaler.runtime.kube import KubeError
from tests.virtual import VirtualClock

QUOTA = KubeError(status=403, reason="Forbidden", message="exceeded quota: small, requested: pods=1")
AWAY = KubeError(status=0, reason="Unreachable", message="connection refused")


class Refusing(MockCluster):
    """An API server that says `error` to every creation while there is one, after `takes` seconds."""

    def __init__(self, error: KubeError | None, *, takes: float = 0.05) -> None:
        super().__init__(clock=VirtualClock())
        self.error = error
        self.takes = takes

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return await super().create(path, body, params)


def launcher_of(kube: MockCluster, concurrency: int) -> Launcher:
    index = WorkerIndex(kube, "n")
    defaults = PodDefaults(
        image="busybox", limits={}, requests={}, active_deadline=60, template={}, gated=False
    )
    return Launcher(
        kube=kube,
        index=index,
        defaults=defaults,
        telemetry=Telemetry(),
        clock=VirtualClock(),
        concurrency=concurrency,
    )


def workers_of(task: str, count: int) -> list[WorkerSpec]:
    return specs_of(ScaleUp(task_id=task, count=count, origin=Origin(key="k", at=0.0), facts=Facts()))


async def launch(kube: MockCluster, patience: Patience, count: int = 3, *, concurrency: int = 1) -> Launch:
    return await launcher_of(kube, concurrency).launch(workers_of("t", count), patience)


@pytest.mark.looptime
@pytest.mark.parametrize("error", [QUOTA, AWAY], ids=["quota", "away"])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.8, 2.0, 6.0])
async def test_patience_is_not_overdrawn_by_a_step_of_the_backoff(error: KubeError, seconds: float) -> None:
    async with Refusing(error) as kube:
        started = asyncio.get_running_loop().time()
        result = await launch(kube, Patience(quota=seconds, passing=seconds))
        took = asyncio.get_running_loop().time() - started
    assert len(result.refused) == 3
    assert seconds <= took <= seconds + 7 * kube.takes, "an attempt of each may precede and follow, no pause"


@pytest.mark.looptime
async def test_a_later_order_that_leaves_none_ends_an_order_at_once() -> None:
    async with Refusing(None, takes=1.0) as kube:
        patience = Patience()
        launching = asyncio.create_task(launch(kube, patience))
        await asyncio.sleep(1.5)
        curtail(patience, 0)
        result = await launching
    assert (len(result.created), len(result.dropped)) == (2, 1), "the one under way is not cut off"


@pytest.mark.looptime
async def test_a_later_order_that_leaves_some_lets_an_order_be_carried_out_first() -> None:
    async with Refusing(None, takes=1.0) as kube:
        patience = Patience()
        curtail(patience, 2)
        result = await launch(kube, patience)
    assert (len(result.created), result.dropped) == (3, [])


@pytest.mark.looptime
async def test_a_later_order_that_leaves_some_ends_the_wait_for_a_quota() -> None:
    async with Refusing(QUOTA) as kube:
        patience = Patience()
        launching = asyncio.create_task(launch(kube, patience))
        await asyncio.sleep(5)
        curtail(patience, 2)
        result = await asyncio.wait_for(launching, 0.2)
    assert len(result.dropped) == 3


@pytest.mark.looptime
async def test_an_api_server_that_is_away_is_waited_for_although_fewer_are_wanted_later() -> None:
    async with Refusing(AWAY) as kube:
        patience = Patience()
        launching = asyncio.create_task(launch(kube, patience))
        curtail(patience, 2)
        await asyncio.sleep(60)
        kube.error = None
        result = await launching
    assert len(result.created) == 3


class Uneven(MockCluster):
    """An API server whose answers overtake one another."""

    async def create(self, path: str, body: Any, params: Params | None = None) -> Any:
        await asyncio.sleep(5.0 - int(body["metadata"]["name"].rpartition("-")[2]))
        return await super().create(path, body, params)


@pytest.mark.looptime
async def test_names_come_in_the_orders_order_however_the_answers_come() -> None:
    async with Uneven(clock=VirtualClock()) as kube:
        result = await launch(kube, Patience(), concurrency=5)
    assert [name.rpartition("-")[2] for name in result.created] == ["3", "2", "1"]
    assert [name.rpartition("-")[2] for name in result.names] == ["1", "2", "3"]


class Ownership:
    """Whose an order is: nobody can say while `says` is clear, and what it said holds for `holds` seconds."""

    def __init__(self, holds: float) -> None:
        self.says = asyncio.Event()
        self.says.set()
        self.lost = False
        self.asked = 0
        self._holds = holds
        self._at = -holds

    def patience(self) -> Patience:
        return Patience(confirm=self._confirm, confirmed=self._confirmed)

    def _confirmed(self) -> bool:
        return asyncio.get_running_loop().time() < self._at + self._holds

    async def _confirm(self) -> None:
        if self._confirmed():
            return
        self.asked += 1
        await self.says.wait()
        if self.lost:
            raise OrderLost
        self._at = asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_an_order_that_nobody_can_confirm_holds_up_no_other() -> None:
    async with Refusing(None) as kube:
        launcher = launcher_of(kube, 2)
        event = Ownership(holds=9.0)
        event.says.clear()
        waiting = asyncio.create_task(launcher.launch(workers_of("event", 5), event.patience()))
        await asyncio.sleep(1)
        async with asyncio.timeout(1):
            called = await launcher.launch(workers_of("call", 3), Patience())
        assert (len(called.created), waiting.done()) == (3, False)
        event.says.set()
        assert len((await waiting).created) == 5
        assert event.asked == 1, "what one worker was told holds for all"


@pytest.mark.looptime
@pytest.mark.parametrize("lost", [False, True], ids=["still ours", "lost"])
async def test_an_order_that_waited_long_for_a_slot_is_confirmed_again(lost: bool) -> None:
    async with Refusing(None, takes=20.0) as kube:
        launcher = launcher_of(kube, 1)
        slow = asyncio.create_task(launcher.launch(workers_of("slow", 1), Patience()))
        await asyncio.sleep(1)
        event = Ownership(holds=9.0)
        waiting = asyncio.create_task(launcher.launch(workers_of("event", 1), event.patience()))
        await asyncio.sleep(1)
        event.lost = lost
        await slow
        if lost:
            with pytest.raises(OrderLost):
                await waiting
        else:
            assert len((await waiting).created) == 1
        assert event.asked == 2
        assert len(tuple(kube.objects.items(pods_path("n")))) == (1 if lost else 2)
