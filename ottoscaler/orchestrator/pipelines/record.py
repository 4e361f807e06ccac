"""A run's ConfigMap, read.

data:  run    what was asked for, as JSON; never changes
       state  how far it has come, as JSON; written by the leader only
annotations    the pipeline's id, a digest of `run`, who follows, who asked for its end
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ottoscaler.orchestrator.naming import DOMAIN
from ottoscaler.orchestrator.pipelines.model import RunSpec, RunState
from ottoscaler.runtime.log import get_logger

log = get_logger("pipelines")

DIGEST = f"{DOMAIN}/digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One version of a run's record."""

    name: str
    uid: str
    revision: int
    """Versions of one resource grow (KEP-5504)."""
    spec: RunSpec
    state: RunState
    notes: Mapping[str, str]
    """The record's annotations."""
    record: Any
    """The ConfigMap, to be written back."""

    @property
    def digest(self) -> str:
        """Of what was asked for."""
        return self.notes.get(DIGEST, "")

    @property
    def size(self) -> int:
        """Of the record, about, in bytes."""
        return sum(map(len, self.record["data"].values()))


def read_record(record: Any, known: Run | None = None) -> Run | None:
    """The run in a ConfigMap; None when a person wrote over it. `known` is an earlier version, if there is one."""
    metadata, data = record["metadata"], record.get("data") or {}
    try:
        if known is not None and known.record["data"]["run"] == data["run"]:
            spec = known.spec
        else:
            spec = msgspec.json.decode(data["run"], type=RunSpec)
        state = msgspec.json.decode(data["state"], type=RunState)
        _check(spec, state)
    except (KeyError, msgspec.DecodeError) as error:
        log.warning("a run's record cannot be read", config_map=metadata["name"], error=error)
        return None
    return Run(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=int(metadata["resourceVersion"]),
        spec=spec,
        state=state,
        notes=metadata.get("annotations") or {},
        record=record,
    )


def _check(spec: RunSpec, state: RunState) -> None:
    """Raises `msgspec.ValidationError` when the two cannot belong together."""
    if set(state.stages) != {stage.id for stage in spec.stages}:
        raise msgspec.ValidationError("stages differ")
    for stage in spec.stages:
        mine = state.stages[stage.id]
        begun = mine.started_at > 0
        if len(mine.workers) != (stage.count if begun else 0) or (
            begun if mine.status == "PENDING" else not begun and mine.status not in {"SKIPPED", "CANCELLED"}
        ):
            raise msgspec.ValidationError(f"the state of stage {stage.id[:80]!r} contradicts itself")
