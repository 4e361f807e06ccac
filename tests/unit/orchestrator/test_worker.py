"""What we read of a pod."""

from ottoscaler.orchestrator.worker import read_worker
from tests.unit.orchestrator.making import pod

ENDED = {
    "exitCode": 3,
    "reason": "Error",
    "startedAt": "2026-11-21T10:00:01Z",
    "finishedAt": "2026-11-21T10:00:05Z",
}


def test_a_pod_that_waits_for_the_quota() -> None:
    seen = pod()
    seen["spec"]["schedulingGates"] = [{"name": "ottoscaler.dev/quota"}]
    worker = read_worker(seen)
    assert worker.gated
    assert worker.active
    assert not worker.has_log
    assert worker.explain() == "waits for the quota"
    assert worker.task_id == "T t", "the original, not the label"
    assert worker.index == 3


def test_a_pod_that_failed() -> None:
    worker = read_worker(pod(phase="Failed", state={"terminated": ENDED}))
    assert worker.ended
    assert not worker.active
    assert worker.exit_code == 3
    assert worker.explain() == "exited with code 3"
    assert (worker.finished_at or 0) - (worker.started_at or 0) == 4


def test_a_pod_that_was_killed_for_its_memory() -> None:
    ended = ENDED | {"exitCode": 137, "signal": 9, "reason": "OOMKilled"}
    worker = read_worker(pod(phase="Failed", state={"terminated": ended}))
    assert worker.explain() == "killed by signal 9 (OOMKilled)"


def test_a_pod_that_took_too_long() -> None:
    seen = pod(phase="Failed")
    seen["status"] |= {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than 5s"}
    assert read_worker(seen).explain() == "DeadlineExceeded: Pod was active on the node longer than 5s"


def test_a_pod_whose_image_is_not_there() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    assert read_worker(pod(state=waiting)).explain() == "ImagePullBackOff: no such image"


def test_a_pod_that_no_node_can_take() -> None:
    seen = pod()
    seen["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    ]
    assert read_worker(seen).explain() == "Unschedulable: 0/1 nodes"


def test_a_pod_that_is_being_removed() -> None:
    seen = pod(deletionTimestamp="2026-11-21T10:00:30Z", deletionGracePeriodSeconds=30)
    worker = read_worker(seen)
    assert worker.deleting_at == worker.created_at, "when it was asked for"
    assert not worker.active


def test_what_people_wrote_over_annotations_is_survived() -> None:
    seen = pod(annotations={"ottoscaler.dev/requested-at": "yesterday", "ottoscaler.dev/attempt": "x"})
    worker = read_worker(seen)
    assert worker.requested_at == 0
    assert worker.task_id == "t"
