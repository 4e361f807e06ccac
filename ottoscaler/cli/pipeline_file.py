"""A pipeline as a person writes it, and the request that it stands for.

```yaml
name: release
repository: acme/shop
stages:
  - id: build
    image: registry.example.com/ci/go:1.24
    command: [make, build]
  - id: test
    dependsOn: [build]
    workers: 3
    timeout: 10m
    retry: {attempts: 3, delay: 5s, failures: ["7", OOMKilled]}
```

Whatever is wrong is said with its line before anything is sent; stages are judged by the rules of the
orchestrator itself, in its words.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ottoscaler.orchestrator.orders import InvalidOrder
from ottoscaler.orchestrator.pipelines.request import read_run
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.runtime import document
from ottoscaler.runtime.config import Block, ConfigError
from ottoscaler.runtime.decode import INVALID, decode_struct
from ottoscaler.runtime.document import DocumentError, Node, Problem
from ottoscaler.runtime.values import Duration

_MOST_STAGES = 500
_MOST_WORKERS = 1_000_000
"""Far above what an orchestrator is configured for, which it says itself."""

Text = Annotated[str, Meta(min_length=1)]


class Retry(Block, frozen=True):
    """When a failed worker is run again."""

    attempts: Annotated[int, Meta(ge=1, le=100)] = 1
    """The first one included."""
    delay: Duration = Duration(0)
    failures: tuple[Text, ...] = ()
    """Exit codes (`3`, `1-10`), reasons (`OOMKilled`) or phases (`Failed`); empty: every failure."""

    def __post_init__(self) -> None:
        _check_whole("delay", self.delay)


class Stage(Block, frozen=True):
    """One stage; it begins when those in `depends_on` are complete."""

    id: Text
    type: str = ""
    name: str = ""
    workers: Annotated[int, Meta(ge=1, le=_MOST_WORKERS)] = 1
    depends_on: tuple[Text, ...] = ()
    config: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    """Reaches the workers as `OTTO_CONFIG_<KEY>`."""
    image: str = ""
    """Empty: the orchestrator's own."""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    timeout: Duration = Duration(0)
    """Of each attempt; 0: none."""
    retry: Retry | None = None

    def __post_init__(self) -> None:
        _check_whole("timeout", self.timeout)


class Pipeline(Block, frozen=True):
    """The whole file."""

    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=_MOST_STAGES)]
    id: Text | None = None
    """A run that exists under this id is followed, not started again; made up when left out."""
    name: str = ""
    repository: str = ""
    commit_sha: str = ""
    metadata: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it


def _check_whole(name: str, value: Duration) -> None:
    """The wire contract counts whole seconds. Raises `ValueError`."""
    if not value.is_integer():
        raise ValueError(f"{name} is {value}: write whole seconds")


def load(path: Path) -> Pipeline:
    """The pipeline of the file at `path`. Raises `ConfigError` with all that is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from None
    return from_text(content, name=str(path))


def from_text(content: bytes, *, name: str) -> Pipeline:
    """The pipeline that `content` is; `name` is what errors call it. Raises `ConfigError`."""
    try:
        root = document.parse(content, name=name)
    except DocumentError as error:
        raise ConfigError([error.problem]) from None
    problems: list[Problem] = []
    decoded: Any = decode_struct(root, Pipeline, "", problems)
    if problems or decoded is INVALID:
        raise ConfigError(problems)
    pipeline: Pipeline = decoded
    try:
        read_run(
            to_request(pipeline, id=pipeline.id or "x"), max_stages=_MOST_STAGES, max_workers=_MOST_WORKERS
        )
    except InvalidOrder as error:
        raise ConfigError([_placed(str(error), root, pipeline)]) from None
    return pipeline


def _placed(message: str, root: Node, pipeline: Pipeline) -> Problem:
    """What the rules of the orchestrator say, at the stage that they name last in the file."""
    place, path = root.place, ""
    stages: list[Node] = root.value["stages"].value
    for index, (node, stage) in enumerate(zip(stages, pipeline.stages, strict=True)):
        shown = stage.id[:80]
        in_a_cycle = message.startswith("stages wait") and f"{stage.id[:40]} →" in message
        if message.startswith(f"stage {shown!r}") or in_a_cycle:
            place, path = node.keys["id"], f"stages[{index}]"
    return Problem(place, path, message)


def to_request(
    pipeline: Pipeline,
    *,
    id: str,  # noqa: A002 - the field's name
    repository: str = "",
    commit_sha: str = "",
) -> pb.PipelineRequest:
    """The request under `id`; what is given here wins over what the file says."""
    return pb.PipelineRequest(
        pipeline_id=id,
        name=pipeline.name,
        stages=[_stage(each) for each in pipeline.stages],
        repository=repository or pipeline.repository,
        commit_sha=commit_sha or pipeline.commit_sha,
        triggered_by="ottoscaler pipeline run",
        metadata=pipeline.metadata,
    )


def _stage(stage: Stage) -> pb.PipelineStage:
    retry = None
    if stage.retry is not None:
        retry = pb.RetryPolicy(
            max_attempts=stage.retry.attempts,
            retry_delay_seconds=int(stage.retry.delay),
            retryable_failures=stage.retry.failures,
        )
    return pb.PipelineStage(
        stage_id=stage.id,
        type=stage.type,
        name=stage.name,
        worker_count=stage.workers,
        depends_on=stage.depends_on,
        config=stage.config,
        image=stage.image,
        command=stage.command,
        args=stage.args,
        timeout_seconds=int(stage.timeout),
        retry_policy=retry,
    )
