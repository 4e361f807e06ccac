"""Requests that cannot be meant, what must be said of each, and strange task ids that are good ones.

Events that cannot be meant are the table of `tests/unit/orchestrator/test_event_entries.py`.
"""

from typing import Any

import grpc
import grpc.aio

from ottoscaler.orchestrator.naming import label_value
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from tests.unit.orchestrator.test_event_entries import MALFORMED

EVENTS = [(fields, words) for fields, words in MALFORMED if fields]
"""Redis takes no entry without fields."""

Request = pb.ScaleRequest | pb.WorkerStatusRequest | pb.PipelineRequest | pb.WorkerRegistration | bytes
LEAST, MOST = -(2**31), 2**31 - 1


def _with(fields: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    return defaults | fields


def up(**fields: Any) -> tuple[str, Request]:
    return "OttoscalerService/ScaleUp", pb.ScaleRequest(**_with(fields, task_id="t", worker_count=1))


def down(**fields: Any) -> tuple[str, Request]:
    return "OttoscalerService/ScaleDown", pb.ScaleRequest(**_with(fields, task_id="t"))


def status(**fields: Any) -> tuple[str, Request]:
    return "OttoscalerService/GetWorkerStatus", pb.WorkerStatusRequest(**fields)


def run(*stages: pb.PipelineStage, **fields: Any) -> tuple[str, Request]:
    request = pb.PipelineRequest(**_with(fields, pipeline_id="p"), stages=stages)
    return "OttoscalerService/ExecutePipeline", request


def stage(stage_id: str = "s", **fields: Any) -> pb.PipelineStage:
    return pb.PipelineStage(stage_id=stage_id, **_with(fields, worker_count=1))


def raw(method: str, data: bytes) -> tuple[str, Request]:
    return f"OttoscalerService/{method}", data


REQUESTS: list[tuple[tuple[str, Request], str]] = [
    # missing
    (up(task_id=""), "task_id is missing"),
    (up(task_id=" \t\n"), "task_id is missing"),
    (up(worker_count=0), "worker_count is 0: it must be at least 1"),
    (raw("ScaleUp", b""), "task_id is missing"),
    (down(task_id=""), "task_id is missing"),
    (run(stage(), pipeline_id=""), "pipeline_id is missing"),
    (run(), "the pipeline has no stages"),
    (run(stage("")), "stage 1 has no stage_id"),
    (run(stage("a"), stage(" ")), "stage 2 has no stage_id"),
    (run(stage(worker_count=0)), "stage 's': worker_count is 0: it must be at least 1"),
    # negative
    (up(worker_count=-1), "worker_count is -1: it must be at least 1"),
    (up(worker_count=LEAST), "it must be at least 1"),
    (down(worker_count=-1), "worker_count is -1: it must be at least 0"),
    (down(worker_count=LEAST), "it must be at least 0"),
    (run(stage(worker_count=-5)), "stage 's': worker_count is -5"),
    (run(stage(timeout_seconds=-1)), "stage 's': timeout_seconds is -1"),
    (run(stage(retry_policy=pb.RetryPolicy(max_attempts=-1))), "stage 's': max_attempts is -1"),
    (run(stage(retry_policy=pb.RetryPolicy(retry_delay_seconds=-1))), "retry_delay_seconds is -1"),
    # huge
    (up(worker_count=1001), "worker_count is 1001: at most 1000 workers"),
    (up(worker_count=MOST), "at most 1000 workers"),
    (up(task_id="x" * 1025), "task_id has 1025 characters"),
    (up(task_id="ü" * 5000), "task_id has 5000 characters"),
    (up(reason="x" * 70_000), "characters of metadata: at most"),
    (up(build_config={"key": "x" * 70_000}), "characters of metadata: at most"),
    (up(metadata={"request_id": "x" * 257}), "request_id has 257 characters"),
    (status(task_id="x" * 1025), "task_id has 1025 characters"),
    (run(stage(worker_count=MOST)), "stage 's': worker_count is 2147483647: at most 1000"),
    (run(*(stage(f"s-{number}") for number in range(101))), "has 101 stages: at most 100"),
    (run(stage("x" * 257)), "stage_id has 257 characters"),
    (run(stage(), pipeline_id="x" * 257), "pipeline_id has 257 characters"),
    (run(stage(command=["x" * 70_000])), "command and args have 70000 characters"),
    # unicode and long ids with something else that is wrong
    (up(task_id="任务 №1", worker_count=-3), "worker_count is -3"),
    (up(task_id="x" * 300, worker_count=0), "worker_count is 0"),
    (down(task_id="🚀" * 300, worker_count=-1), "worker_count is -1"),
    # characters that no cluster takes
    (up(task_id="a\0b"), "task_id contains a NUL character"),
    (up(repository="a\0"), "repository contains a NUL character"),
    (up(metadata={"a\0": "b"}), "contains a NUL character"),
    (up(build_config={"a": "b\0"}), "contains a NUL character"),
    (down(task_id="\0"), "task_id contains a NUL character"),
    (status(task_id="\0"), "task_id contains a NUL character"),
    (run(stage("a\0")), "NUL character"),
    (run(stage(args=["\0"])), "NUL character"),
    # words that mean nothing
    (status(status_filter="runing"), "status_filter is 'runing': use Pending, Running, Succeeded, Failed"),
    (status(status_filter="-1"), "status_filter is '-1'"),
    (run(stage(image="Not An Image")), "stage 's': image 'Not An Image'"),
    (run(stage(image="busybox;rm")), "is no reference of an image"),
    (run(stage(depends_on=["nobody"])), "stage 's' depends on 'nobody', which is not there"),
    (run(stage(depends_on=["s"])), "stages wait for each other: s → s"),
    (run(stage("a", depends_on=["b"]), stage("b", depends_on=["a"])), "stages wait for each other"),
    (run(stage("a"), stage("a")), "stage 'a' is there twice"),
    (run(stage(retry_policy=pb.RetryPolicy(max_attempts=2, retryable_failures=[""]))), "retryable_failures"),
    # wrong types: another wire type is, by proto3, an unknown field; broken bytes are no message
    (raw("ScaleUp", b"\x08\x05\x20\x01"), "task_id is missing"),
    (raw("ScaleUp", b"\x0a\x01t\x22\x013"), "worker_count is 0"),
    (raw("ScaleUp", b"\x0a\xff\x01t"), "the request is no ottoscaler.v1.ScaleRequest"),
    (raw("ScaleUp", b"\x0a\x02\xff\xfe\x20\x01"), "the request is no ottoscaler.v1.ScaleRequest"),
    (raw("ScaleUp", b'{"task_id": "t", "worker_count": 1}'), "the request is no ottoscaler.v1.ScaleRequest"),
    (raw("ScaleDown", b"\xff\xff\xff"), "the request is no ottoscaler.v1.ScaleRequest"),
    (raw("GetWorkerStatus", b"\x0a"), "the request is no ottoscaler.v1.WorkerStatusRequest"),
    (raw("ExecutePipeline", b"\x1a\x7f"), "the request is no ottoscaler.v1.PipelineRequest"),
]

LEGAL = [
    "任务 №1",
    "Übung/1",
    "übung/1",
    "u\u0308bung/1",
    "ubung-1",
    "x" * 300,
    "X" * 300,
    "x" * 301,
    "🚀" * 75,
    "a.b",
    "a_b",
    "a-b",
    "a b",
    "a/b",
    " a-b",
    "a-b ",
    "--",
    ".",
    "\u202etxet",
    "tab\there",
    "two\nlines",
    "bell\x07",
    "$(OTTO_WORKER_ID)",
    "$$",
    "'; rm -rf / #",
    "<script>&amp;",
    label_value("Übung/1"),
]
"""Task ids that work, each apart from all others."""


async def words_for(channel: grpc.aio.Channel, method: str, request: Request) -> tuple[grpc.StatusCode, str]:
    """How a call ended; `OK` and nothing when it did not fail."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    path = f"/ottoscaler.v1.{method}"
    if method.endswith("ExecutePipeline"):
        streaming: Any = channel.unary_stream(path)
        call = anext(aiter(streaming(data, timeout=30)))
    else:
        unary: Any = channel.unary_unary(path)
        call = unary(data, timeout=30)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def judge_requests(channel: grpc.aio.Channel) -> list[str]:
    """What is wrong with the answers to `REQUESTS`; empty when nothing is."""
    problems = []
    for (method, request), expected in REQUESTS:
        code, words = await words_for(channel, method, request)
        shown = f"{method} {str(request)[:60]!r}: {code.name} {words[:120]!r}"
        if code != grpc.StatusCode.INVALID_ARGUMENT or expected not in words:
            problems.append(f"{shown}, not {expected!r}")
        elif "\n" in words or len(words) > 400:
            problems.append(f"{shown} is no clear line")
    return problems


def judge_letters(sent: list[tuple[bytes, str]], letters: list[dict[bytes, bytes]]) -> list[str]:
    """What is wrong with the dead letters; `sent` are the ids of `EVENTS` and the words expected for each."""
    by_id = {letter[b"dead_id"]: letter for letter in letters}
    problems = [] if len(letters) == len(sent) else [f"{len(letters)} letters of {len(sent)} events"]
    for (id_, expected), (fields, _) in zip(sent, EVENTS, strict=True):
        letter = by_id.get(id_, {})
        reason = letter.get(b"dead_reason", b"").decode()
        if expected not in reason or "\n" in reason:
            problems.append(f"{id_!r}: {reason[:120]!r}, not {expected!r}")
        if not fields.items() <= letter.items():
            problems.append(f"{id_!r}: the letter does not say what the event said")
    return problems
