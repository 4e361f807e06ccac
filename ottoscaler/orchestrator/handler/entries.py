"""What the handler is sent, in the words of the wire contract."""

import re
from collections.abc import Mapping

from ottoscaler.orchestrator.handler.buffer import Item
from ottoscaler.orchestrator.lifecycle import Transition
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.times import format_time
from ottoscaler.orchestrator.worker import Worker

_LEVEL = re.compile(r"\b(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|FATAL|CRITICAL)\b", re.IGNORECASE)
_LEVELS = {"ERR": "ERROR", "WARNING": "WARN", "NOTICE": "INFO", "CRITICAL": "FATAL"}


def level_of(text: str) -> str:
    """The level that a line names near its start; `INFO` when it names none."""
    match = _LEVEL.search(text, 0, 80)
    if match is None:
        return "INFO"
    word = match[1].upper()
    return _LEVELS.get(word, word)


def metadata_of(worker: Worker, namespace: str) -> pb.WorkerMetadata:
    """The pod as the handler knows pods."""
    return pb.WorkerMetadata(
        pod_name=worker.name,
        namespace=namespace,
        node_name=worker.node,
        created_at=format_time(worker.created_at),
        labels=worker.labels,
    )


def log_entry(
    item: Item, *, worker_id: str, task_id: str, pod: pb.WorkerMetadata | None
) -> pb.WorkerLogEntry:
    """One line, or one announcement of lines that are missing.

    `metadata["line"]` numbers the lines of a worker from 1, so that a receiver that was restarted
    while it took one can tell that it comes again.
    """
    metadata: dict[str, str] = {**(item.metadata or {}), "line": str(item.number)}
    if item.is_word:
        level, source = "WARN", "ottoscaler"
        metadata |= {"dropped_lines": str(item.dropped), "dropped_until": format_time(item.until)}
        lines = "1 log line is" if item.dropped == 1 else f"{item.dropped} log lines are"
        message = f"{lines if item.dropped else 'log lines are'} missing here: {item.reason}"
    else:
        level, source, message = item.level or level_of(item.text), item.source, item.text
    return pb.WorkerLogEntry(
        worker_id=worker_id,
        task_id=task_id,
        timestamp=format_time(item.at),
        level=level,
        source=source,
        message=message,
        pod_metadata=pod,
        metadata=metadata,
    )


def notification(worker: Worker, transition: Transition, namespace: str) -> pb.WorkerStatusNotification:
    """Word of one transition."""
    return pb.WorkerStatusNotification(
        worker_id=worker.name,
        task_id=worker.task_id,
        status=transition.stage.name,
        timestamp=format_time(transition.at),
        reason=transition.reason,
        metadata=_details(worker, namespace),
    )


def _details(worker: Worker, namespace: str) -> Mapping[str, str]:
    details = {
        "pod_name": worker.name,
        "namespace": namespace,
        "node_name": worker.node,
        "worker_index": str(worker.index),
        "exit_code": "" if worker.exit_code is None else str(worker.exit_code),
        "failure_reason": worker.reason if worker.phase == "Failed" else "",
    }
    if worker.stage is not None:
        details |= {
            "pipeline_id": worker.stage.pipeline_id,
            "stage_id": worker.stage.stage_id,
            "attempt": str(worker.stage.attempt),
        }
    return {key: value for key, value in details.items() if value}
