"""Firestore under seeded faults of every kind, on the emulator."""

import logging
from functools import partial

import pytest

from tests.faultrun.runs import firestore_at
from tests.faultrun.short import nothing_false_is_served
from tests.firestore.emulator import Emulator


async def test_nothing_false_is_served_whatever_fails(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what is logged, with the frames of its tracebacks, and gRPC's thread with them
    monkeypatch.setattr(logging.getLogger("grpc._common"), "disabled", True)
    stage = partial(firestore_at, emulator.address)
    await nothing_false_is_served(stage, "firestore", 15, warm_up=1)  # gRPC keeps what it has once made
