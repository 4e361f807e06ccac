"""A session of pushed logs ends when it has been silent for long, and the next is another."""

import asyncio
from typing import Any, cast

import pytest

from ottoscaler.orchestrator.handler.buffer import Budget
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.calls import Context
from ottoscaler.orchestrator.service.pushed_logs import PushedLogs, PushRules
from ottoscaler.orchestrator.telemetry import Telemetry
from tests.virtual import VirtualClock

NOBODY = cast("Context", None)
"""The servicer looks at a call's context only to end it."""


async def register(servicer: PushedLogs, worker: str) -> pb.RegistrationResponse:
    method: Any = servicer.RegisterWorker
    response: pb.RegistrationResponse = await method(pb.WorkerRegistration(worker_id=worker), NOBODY)
    return response


@pytest.mark.looptime
async def test_a_silent_session_makes_room() -> None:
    servicer = PushedLogs(
        link=None,
        rules=PushRules(sessions=2),
        budget=Budget(10**6),
        streams=asyncio.Semaphore(1),
        telemetry=Telemetry(),
        clock=VirtualClock(),
    )
    sweeping = asyncio.create_task(servicer.run())
    silent = await register(servicer, "silent")
    busy = await register(servicer, "busy")
    for _ in range(5):
        await asyncio.sleep(150)
        assert (await register(servicer, "busy")).session_id == busy.session_id
    assert (await register(servicer, "third")).status == pb.RegistrationResponse.SUCCESS
    assert (await register(servicer, "silent")).status == pb.RegistrationResponse.SERVER_FULL
    await asyncio.sleep(700)
    again = await register(servicer, "silent")
    assert again.status == pb.RegistrationResponse.SUCCESS
    assert again.session_id != silent.session_id, "its lines are numbered anew, so its name differs"
    sweeping.cancel()
    await asyncio.wait({sweeping})
