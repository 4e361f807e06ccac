"""Each row is a document and the state that the contract gives it."""

from typing import Any

import pytest

from ottoscaler.adapter.sources.firebase_jobs import Mark, State, classify
from ottoscaler.adapter.sources.firebase_table import JobTable

NOW = 1_790_000_000.0
HELD = {"assignedPodId": "pod-1", "status": "processing", "lastHeartbeat": NOW}


@pytest.mark.parametrize(
    ("document", "state"),
    [
        # as the contract says
        ({"createdAt": NOW * 1000}, State.WAITING),
        ({"createdAt": NOW * 1000, "status": "pending"}, State.WAITING),
        ({"status": "processing"}, State.WAITING),
        ({"status": "anything", "lastHeartbeat": NOW}, State.WAITING),
        ({"inputs": Mark.SOMETHING}, State.WAITING),
        ({"status": "failed"}, State.FAILED),
        ({**HELD, "status": "failed"}, State.FAILED),
        (HELD, State.HELD),
        ({**HELD, "shutdownRequested": Mark.SOMETHING}, State.HELD),
        # held in name only
        ({"assignedPodId": "pod-1"}, State.OTHER),
        ({**HELD, "status": "pending"}, State.OTHER),
        ({**HELD, "lastHeartbeat": None}, State.OTHER),
        # historic writers
        ({"status": {"status": "failed"}}, State.FAILED),
        ({**HELD, "status": {"status": "processing"}}, State.HELD),
        ({**HELD, "assignedPodId": {"assignedPodId": "pod-1"}}, State.HELD),
        ({**HELD, "lastHeartbeat": {"lastHeartbeat": NOW}}, State.HELD),
        ({"status": {"status": "pending", "by": Mark.SOMETHING}}, State.WAITING),
        # wrong types
        ({"assignedPodId": ""}, State.WAITING),
        ({"status": 5}, State.WAITING),
        ({"status": True}, State.WAITING),
        ({"status": {"other": Mark.SOMETHING}}, State.WAITING),
        ({**HELD, "status": 5}, State.OTHER),
        ({**HELD, "assignedPodId": 7}, State.OTHER),
        ({**HELD, "assignedPodId": False}, State.OTHER),
        ({**HELD, "assignedPodId": {"name": Mark.SOMETHING}}, State.OTHER),
        ({**HELD, "lastHeartbeat": "5"}, State.OTHER),
        ({**HELD, "lastHeartbeat": True}, State.OTHER),
        ({**HELD, "lastHeartbeat": float("inf")}, State.OTHER),
        ({**HELD, "lastHeartbeat": 10**400}, State.OTHER),
        ({**HELD, "lastHeartbeat": NOW * 1000}, State.OTHER),
        ({**HELD, "lastHeartbeat": -1}, State.OTHER),
        ("text", State.OTHER),
        (True, State.OTHER),
        (Mark.SOMETHING, State.OTHER),
    ],
)
def test_state(document: Any, state: State) -> None:
    assert classify(document).state is state


@pytest.mark.parametrize(
    ("created", "seconds"),
    [
        (NOW * 1000, NOW),
        ({"createdAt": NOW * 1000}, NOW),
        (NOW, None),  # seconds: 56 years of waiting that nobody waited
        ("yesterday", None),
        (None, None),
        (True, None),
        (float("nan"), None),
    ],
)
def test_when_a_waiting_job_was_created(created: Any, seconds: float | None) -> None:
    assert classify({"createdAt": created}).created_at == seconds


@pytest.mark.parametrize(
    ("age", "processing", "stalled"), [(0, 1, 0), (299.9, 1, 0), (300, 0, 1), (301, 0, 1)]
)
def test_a_silent_job_turns_stalled_without_any_event(age: float, processing: int, stalled: int) -> None:
    table = JobTable()
    table.apply([((), {"a": HELD})])
    counts = table.reading("q", measured_at=NOW, stalled_after=None).counts(NOW + age)
    assert (counts.processing, counts.stalled) == (processing, stalled)


def test_the_queue_may_have_a_limit_of_its_own() -> None:
    table = JobTable()
    table.apply([((), {"a": HELD})])
    reading = table.reading("q", measured_at=NOW, stalled_after=60.0)
    assert reading.counts(NOW + 59).processing == 1
    assert reading.counts(NOW + 61).stalled == 1
