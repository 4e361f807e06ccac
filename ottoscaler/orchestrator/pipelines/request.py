"""Reads and judges a PipelineRequest: whatever is wrong is said with the stage it is wrong in."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from ottoscaler.orchestrator.orders import MAX_FACTS, Facts, InvalidOrder, check_facts
from ottoscaler.orchestrator.pipelines.failures import read_codes
from ottoscaler.orchestrator.pipelines.model import MOST_ATTEMPTS, RetryRule, RunSpec, StageSpec, largest
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

_ID_LENGTH = 256
_MOST_WORKERS = 10_000
"""In one pipeline."""
_SIZE = 1_000_000
"""Bytes of what was asked for and of the largest state it can come to; a ConfigMap holds 1,048,576."""
_LONGEST = 7 * 24 * 3600
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{32,})?"
)


def read_run(request: pb.PipelineRequest, *, max_stages: int, max_workers: int) -> RunSpec:
    """The run that `request` asks for. Raises `InvalidOrder`."""
    _check_id("pipeline_id", request.pipeline_id)
    if not request.stages:
        raise InvalidOrder("the pipeline has no stages: add at least one")
    if len(request.stages) > max_stages:
        raise InvalidOrder(f"the pipeline has {len(request.stages)} stages: at most {max_stages} are allowed")
    stages = tuple(_read_stage(stage, number, max_workers) for number, stage in enumerate(request.stages, 1))
    _check_graph(stages)
    facts = Facts(
        repository=request.repository,
        commit_sha=request.commit_sha,
        triggered_by=request.triggered_by,
        metadata=dict(request.metadata),
    )
    check_facts(facts)
    run = RunSpec(
        id=request.pipeline_id,
        name=request.name,
        stages=stages,
        repository=request.repository,
        commit_sha=request.commit_sha,
        triggered_by=request.triggered_by,
        metadata=dict(request.metadata),
    )
    if run.workers > _MOST_WORKERS:
        raise InvalidOrder(
            f"the pipeline asks for {run.workers} workers: at most {_MOST_WORKERS} are allowed"
        )
    size = len(msgspec.json.encode(run)) + len(msgspec.json.encode(largest(run)))
    if size > _SIZE:
        raise InvalidOrder(
            f"the pipeline's record can grow to {size} bytes: at most {_SIZE} are allowed, "
            "split it or leave out what workers can fetch themselves"
        )
    return run


def _read_stage(stage: pb.PipelineStage, number: int, max_workers: int) -> StageSpec:
    if not stage.stage_id.strip():
        raise InvalidOrder(f"stage {number} has no stage_id")
    where = f"stage {stage.stage_id[:80]!r}"
    _check_id(f"{where}: stage_id", stage.stage_id)
    if stage.worker_count < 1:
        raise InvalidOrder(f"{where}: worker_count is {stage.worker_count}: it must be at least 1")
    if stage.worker_count > max_workers:
        raise InvalidOrder(
            f"{where}: worker_count is {stage.worker_count}: at most {max_workers} are allowed"
        )
    if stage.image and (len(stage.image) > 1024 or not _IMAGE.fullmatch(stage.image)):
        raise InvalidOrder(f"{where}: image {stage.image[:120]!r} is no reference of an image")
    if not 0 <= stage.timeout_seconds <= _LONGEST:
        raise InvalidOrder(f"{where}: timeout_seconds is {stage.timeout_seconds}: use 0 (none) to {_LONGEST}")
    texts = [*stage.command, *stage.args, stage.type, stage.name]
    _check_text(where, texts)
    if (length := sum(map(len, texts))) > MAX_FACTS:
        raise InvalidOrder(
            f"{where}: command and args have {length} characters: at most {MAX_FACTS} are allowed"
        )
    try:
        check_facts(Facts(config=dict(stage.config)))
    except InvalidOrder as error:
        raise InvalidOrder(f"{where}: config: {error}") from None
    return StageSpec(
        id=stage.stage_id,
        count=stage.worker_count,
        type=stage.type,
        name=stage.name,
        depends_on=tuple(dict.fromkeys(stage.depends_on)),
        config=dict(stage.config),
        image=stage.image,
        command=tuple(stage.command),
        args=tuple(stage.args),
        timeout=stage.timeout_seconds,
        retry=_read_retry(stage.retry_policy, where) if stage.HasField("retry_policy") else RetryRule(),
    )


def _read_retry(policy: pb.RetryPolicy, where: str) -> RetryRule:
    if not 0 <= policy.max_attempts <= MOST_ATTEMPTS:
        raise InvalidOrder(f"{where}: max_attempts is {policy.max_attempts}: use 1 to {MOST_ATTEMPTS}")
    if not 0 <= policy.retry_delay_seconds <= _LONGEST:
        raise InvalidOrder(
            f"{where}: retry_delay_seconds is {policy.retry_delay_seconds}: use 0 to {_LONGEST}"
        )
    failures = tuple(policy.retryable_failures)
    if any(not each.strip() or len(each) > 256 for each in failures):
        raise InvalidOrder(f"{where}: retryable_failures has an entry that is empty or too long")
    for each in failures:
        if (codes := read_codes(each)) is not None and not codes[0] <= codes[1] <= 255:
            raise InvalidOrder(
                f"{where}: retryable_failures has {each!r}: exit codes are 0 to 255, as 3 or 1-9"
            )
    return RetryRule(
        attempts=max(1, policy.max_attempts), delay=policy.retry_delay_seconds, failures=failures
    )


def _check_graph(stages: tuple[StageSpec, ...]) -> None:
    known: dict[str, StageSpec] = {}
    for stage in stages:
        if stage.id in known:
            raise InvalidOrder(f"stage {stage.id[:80]!r} is there twice: stage ids must differ")
        known[stage.id] = stage
    for stage in stages:
        for dependency in stage.depends_on:
            if dependency not in known:
                raise InvalidOrder(
                    f"stage {stage.id[:80]!r} depends on {dependency[:80]!r}, which is not there"
                )
    if cycle := _cycle({stage.id: stage.depends_on for stage in stages}):
        raise InvalidOrder(f"stages wait for each other: {' → '.join(each[:40] for each in cycle)}")


def _cycle(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Stages that wait for each other, the first one repeated at the end; empty when there are none."""
    waiting = {stage: set(dependencies) for stage, dependencies in depends_on.items()}
    while ready := [stage for stage, dependencies in waiting.items() if not dependencies]:
        for stage in ready:
            del waiting[stage]
        for dependencies in waiting.values():
            dependencies.difference_update(ready)
    if not waiting:
        return []
    path = [next(iter(waiting))]
    while (following := min(waiting[path[-1]])) not in path:
        path.append(following)
    return [*path[path.index(following) :], following]


def _check_id(what: str, value: str) -> None:
    if not value.strip():
        raise InvalidOrder(f"{what} is missing")
    if len(value) > _ID_LENGTH:
        raise InvalidOrder(f"{what} has {len(value)} characters: at most {_ID_LENGTH} are allowed")
    _check_text(what, [value])


def _check_text(where: str, texts: Iterable[str]) -> None:
    if any("\0" in text for text in texts):
        raise InvalidOrder(f"{where} contains a NUL character")
