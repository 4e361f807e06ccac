"""A pipeline in a file: what it means, and every mistake with its line before anything is sent."""

import pytest

from ottoscaler.cli.pipeline_examples import EXAMPLES
from ottoscaler.cli.pipeline_file import from_text, to_request
from ottoscaler.orchestrator.pipelines.request import read_run
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.runtime.config import ConfigError

WHOLE = b"""
id: release-7
name: release
repository: acme/shop
commitSha: abc
metadata: {branch: main}
stages:
  - id: build
    type: build
    image: registry.example.com/ci/go:1.24
    command: [make]
    args: [build]
    config: {target: all}
  - id: test
    dependsOn: [build]
    workers: 3
    timeout: 10m
    retry: {attempts: 3, delay: 5s, failures: ["7", OOMKilled]}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_text(text.encode(), name="p.yaml")
    return str(caught.value).splitlines()


def test_a_file_is_the_request_that_it_stands_for() -> None:
    request = to_request(from_text(WHOLE, name="p.yaml"), id="release-7", commit_sha="def")
    assert request == pb.PipelineRequest(
        pipeline_id="release-7",
        name="release",
        repository="acme/shop",
        commit_sha="def",
        triggered_by="ottoscaler pipeline run",
        metadata={"branch": "main"},
        stages=[
            pb.PipelineStage(
                stage_id="build",
                type="build",
                worker_count=1,
                image="registry.example.com/ci/go:1.24",
                command=["make"],
                args=["build"],
                config={"target": "all"},
            ),
            pb.PipelineStage(
                stage_id="test",
                worker_count=3,
                depends_on=["build"],
                timeout_seconds=600,
                retry_policy=pb.RetryPolicy(
                    max_attempts=3, retry_delay_seconds=5, retryable_failures=["7", "OOMKilled"]
                ),
            ),
        ],
    )


@pytest.mark.parametrize("example", sorted(EXAMPLES))
def test_an_example_is_one_that_the_orchestrator_takes(example: str) -> None:
    pipeline = next(value for key, value in EXAMPLES.items() if key == example)
    run = read_run(to_request(pipeline, id="x"), max_stages=100, max_workers=1000)
    assert len(run.stages) == len(pipeline.stages)


def test_all_mistakes_are_told_at_once_with_their_lines() -> None:
    text = """stages:
  - id: build
    dependson: [x]
    workers: 0
  - name: test
    timeout: 1.5s
    retry: {attempts: 1000, delay: 3}
  - {id: x, command: make}
"""
    assert problems(text) == [
        'p.yaml:3: stages[0].dependson: unknown key, did you mean "dependsOn"?',
        "p.yaml:4: stages[0].workers: expected a whole number >= 1",
        "p.yaml:5: stages[1]: id is missing",
        "p.yaml:7: stages[1].retry.attempts: expected a whole number <= 100",
        "p.yaml:7: stages[1].retry.delay: expected a duration such as 30s, 5m or 1h30m, got 3",
        "p.yaml:8: stages[2].command: expected a list, got a string",
    ]


@pytest.mark.parametrize(
    ("stages", "line", "message"),
    [
        ("[{id: a, dependsOn: [b]}]", 1, "stages[0]: stage 'a' depends on 'b', which is not there"),
        ("\n- {id: a}\n- {id: b}\n- {id: a}", 4, "stages[2]: stage 'a' is there twice: stage ids must differ"),
        ("\n- {id: a}\n- {id: b, image: 'Not An Image'}", 3, "stages[1]: stage 'b': image 'Not An Image' is no reference of an image"),
        ("[{id: a, timeout: 1.5s}]", 1, "stages[0].timeout: is 1.5s: write whole seconds"),
        ("\n- {id: z}\n- {id: a, dependsOn: [b]}\n- {id: b, dependsOn: [a]}", 4, "stages[2]: stages wait for each other: a → b → a"),
        ("[]", 1, "stages: is empty"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_run_is_refused_at_its_stage(stages: str, line: int, message: str) -> None:
    assert problems(f"stages: {stages}") == [f"p.yaml:{line}: {message}"]
