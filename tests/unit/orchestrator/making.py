"""Workers and pods for tests, made in one line."""

from typing import Any

from ottoscaler.orchestrator.worker import Worker

Json = dict[str, Any]


def worker(name: str = "w-1", **changes: Any) -> Worker:
    """A pending worker of task `t`, with changes."""
    values: dict[str, Any] = {
        "name": name,
        "uid": f"uid-{name}",
        "version": "1",
        "task_id": "t",
        "index": 1,
        "labels": {},
        "created_at": 100.0,
        "requested_at": 100.0,
    }
    return Worker(**(values | changes))


def pod(name: str = "w-1", *, phase: str = "Pending", state: Json | None = None, **metadata: Any) -> Json:
    """A pod as the API shows it."""
    status: Json = {"phase": phase}
    if state is not None:
        status["containerStatuses"] = [{"name": "worker", "state": state}]
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "creationTimestamp": "2026-11-21T10:00:00Z",
            "labels": {"task-id": "t", "worker-index": "3"},
            "annotations": {"ottoscaler.dev/task-id": "T t"},
        }
        | metadata,
        "spec": {"nodeName": "node-1"},
        "status": status,
    }
