"""A pipeline that cannot be meant is refused, with the stage that is wrong."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ottoscaler.orchestrator.orders import InvalidOrder
from ottoscaler.orchestrator.pipelines.model import RetryRule, RunSpec, brief, largest
from ottoscaler.orchestrator.pipelines.request import read_run
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


def stage(
    name: str = "build", workers: int = 1, after: tuple[str, ...] = (), **more: object
) -> pb.PipelineStage:
    return pb.PipelineStage(stage_id=name, worker_count=workers, depends_on=after, **more)  # type: ignore[arg-type]


def request(*stages: pb.PipelineStage, name: str = "p-1") -> pb.PipelineRequest:
    return pb.PipelineRequest(pipeline_id=name, stages=stages)


def read(asked: pb.PipelineRequest) -> RunSpec:
    return read_run(asked, max_stages=10, max_workers=100)


def test_a_pipeline_is_kept_as_it_was_asked_for() -> None:
    policy = pb.RetryPolicy(max_attempts=3, retry_delay_seconds=5, retryable_failures=["1-9", "OOMKilled"])
    run = read(
        request(
            stage(
                "build", config={"lang": "go"}, image="registry.example.com:5000/ci/go:1.24", command=["make"]
            ),
            stage("test", 4, ("build",), retry_policy=policy, timeout_seconds=60),
        )
    )
    build, test = run.stages
    assert (build.image, build.command, build.config) == (
        "registry.example.com:5000/ci/go:1.24",
        ("make",),
        {"lang": "go"},
    )
    assert build.retry == RetryRule()
    assert test.retry == RetryRule(attempts=3, delay=5, failures=("1-9", "OOMKilled"))
    assert run.workers == 5


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(stage(), name=""), "pipeline_id is missing"),
        (request(stage(), name="x" * 300), "pipeline_id has 300 characters"),
        (request(), "the pipeline has no stages"),
        (request(*(stage(str(number)) for number in range(11))), "11 stages: at most 10"),
        (request(stage("")), "stage 1 has no stage_id"),
        (request(stage("a"), stage("a")), "stage 'a' is there twice"),
        (request(stage("a", after=("b",))), "stage 'a' depends on 'b', which is not there"),
        (request(stage("a", after=("a",))), "stages wait for each other: a → a"),
        (
            request(stage("a", after=("c",)), stage("b", after=("a",)), stage("c", after=("b",)), stage("d")),
            "stages wait for each other: a → c → b → a",
        ),
        (request(stage("a", 0)), "stage 'a': worker_count is 0: it must be at least 1"),
        (request(stage("a", -1)), "stage 'a': worker_count is -1"),
        (request(stage("a", 101)), "stage 'a': worker_count is 101: at most 100"),
        (request(*(stage(str(number), 100) for number in range(10)), stage("x")), "11 stages"),
        (request(stage("a", image="not an image")), "stage 'a': image 'not an image' is no reference"),
        (request(stage("a", image="case/UPPER")), "stage 'a': image 'case/UPPER'"),
        (request(stage("a", image="x:")), "stage 'a': image 'x:'"),
        (request(stage("a", timeout_seconds=-1)), "stage 'a': timeout_seconds is -1"),
        (request(stage("a", retry_policy=pb.RetryPolicy(max_attempts=-2))), "stage 'a': max_attempts is -2"),
        (
            request(stage("a", retry_policy=pb.RetryPolicy(max_attempts=101))),
            "stage 'a': max_attempts is 101",
        ),
        (
            request(stage("a", retry_policy=pb.RetryPolicy(retry_delay_seconds=-1))),
            "stage 'a': retry_delay_seconds is -1",
        ),
        (
            request(stage("a", retry_policy=pb.RetryPolicy(retryable_failures=[" "]))),
            "stage 'a': retryable_failures has an entry that is empty",
        ),
        (request(stage("a", args=["x\0"])), "stage 'a' contains a NUL character"),
        (request(stage("a", args=["x" * 70_000])), "stage 'a': command and args have 70000 characters"),
        (
            request(stage("b", config={"k": "x\0"})),
            "stage 'b': config: metadata 'k' contains a NUL character",
        ),
        (request(stage("b", config={"k": "x" * 70_000})), "stage 'b': config: the order carries 70001"),
        (
            request(*(stage(str(number), args=["ü" * 60_000]) for number in range(10))),
            "record can grow to 1234937 bytes: at most 1000000",
        ),
        (
            request(stage("a", retry_policy=pb.RetryPolicy(retryable_failures=["1", "9-1"]))),
            "stage 'a': retryable_failures has '9-1': exit codes are 0 to 255",
        ),
        (
            request(stage("a", retry_policy=pb.RetryPolicy(retryable_failures=["exit_code: 300"]))),
            "retryable_failures has 'exit_code: 300'",
        ),
        (request(stage("a", timeout_seconds=10**9)), "stage 'a': timeout_seconds is 1000000000: use 0"),
        (request(stage("a"), stage("b", after=("",))), "stage 'b' depends on '', which is not there"),
    ],
)
def test_what_is_wrong_is_said(asked: pb.PipelineRequest, words: str) -> None:
    with pytest.raises(InvalidOrder) as caught:
        read(asked)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "busybox:latest",
        "library/busybox",
        "localhost:5000/a/b_c.d:v1",
        "a@sha256:" + "0" * 64,
        "host.io/x__y",
    ],
)
def test_images_of_every_kind(image: str) -> None:
    assert read(request(stage("a", image=image))).stages[0].image == image


def test_the_largest_pipeline_that_is_accepted_fits_a_config_map_however_it_ends() -> None:
    policy = pb.RetryPolicy(max_attempts=100)
    stages = [stage(f"s{number}", 1000, retry_policy=policy) for number in range(10)]
    run = read_run(pb.PipelineRequest(pipeline_id="p", stages=stages), max_stages=100, max_workers=1000)
    worst = largest(run)
    assert len(msgspec.json.encode(run)) + len(msgspec.json.encode(worst)) < 2**20
    assert read_run(request(*stages), max_stages=100, max_workers=1000).workers == 10_000
    with pytest.raises(InvalidOrder, match="asks for 10001 workers: at most 10000"):
        read_run(request(*stages, stage("one")), max_stages=100, max_workers=1000)


@calm
@given(st.text(max_size=400), st.integers(10, 300))
def test_a_reason_of_any_text_is_one_short_line(text: str, size: int) -> None:
    line = brief(text, size)
    assert len(line.encode()) <= size
    assert len(msgspec.json.encode(line)) <= 2 * size + 2
    assert "\n" not in line
    assert line.isprintable()


def test_what_is_repeated_in_depends_on_counts_once() -> None:
    asked = request(stage("a"), stage("b", after=("a", "a")))
    assert read(asked).stages[1].depends_on == ("a",)
