"""A candidate that is told to stop stops, whatever its calls do at that moment."""

import asyncio
from typing import Any

import pytest

from ottoscaler.runtime.lease import Lease, LeaseTimes


class Kube:
    """One Lease; a read waits at the gate while there is one."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] = {"metadata": {"resourceVersion": "0"}, "spec": {}}
        self.gate: asyncio.Event | None = None
        self.waits = asyncio.Event()

    async def get(self, path: str) -> Any:
        if self.gate is not None:
            self.waits.set()
            await self.gate.wait()
        return {"metadata": dict(self.lease["metadata"]), "spec": dict(self.lease["spec"])}

    async def create(self, path: str, body: Any) -> Any:
        return await self.replace(path, body)

    async def replace(self, path: str, body: Any) -> Any:
        version = str(int(self.lease["metadata"]["resourceVersion"]) + 1)
        self.lease = {"metadata": {"resourceVersion": version}, "spec": body["spec"]}
        return self.lease


@pytest.mark.looptime
async def test_a_cancellation_that_comes_together_with_an_answer_is_heard() -> None:
    """`asyncio.wait_for` of Python 3.11 would swallow it, and the Lease be renewed for ever."""
    kube = Kube()
    lease = Lease(kube, namespace="n", name="l", identity="me", times=LeaseTimes())
    working = asyncio.Event()

    async def duty() -> None:
        working.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(lease.run(duty))
    await working.wait()
    kube.gate = gate = asyncio.Event()
    await kube.waits.wait()  # the first renewal asks
    gate.set()
    kube.gate = None
    await asyncio.sleep(0)  # the answer is there, and nobody has looked at it yet
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=60)
    assert done, "it stopped"
    assert kube.lease["spec"]["holderIdentity"] == "", "and gave the Lease up"
