"""Runs of pipelines as the cluster keeps them: one ConfigMap each, all known by one watch."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from ottoscaler.orchestrator.kube_api import Kube, config_maps_path
from ottoscaler.orchestrator.naming import DOMAIN, MANAGED_BY, digest, run_name
from ottoscaler.orchestrator.pipelines.model import RunSpec, RunState, begin
from ottoscaler.orchestrator.worker import PIPELINE
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("pipelines")

_LABEL = f"{DOMAIN}/run"
_CANCEL = f"{DOMAIN}/cancel"
_DIGEST = f"{DOMAIN}/digest"


class RunInUse(Exception):
    """The pipeline's id belongs to a run that asks for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One version of a run's record."""

    name: str
    uid: str
    version: str
    spec: RunSpec
    state: RunState
    cancelled: bool
    """Whether somebody asked for its end."""
    record: Any
    """The ConfigMap, to be written back."""


class Runs:
    """The runs of one namespace. `run` keeps them; subscribers are told of each that changes or goes."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._by_name: dict[str, Run] = {}
        self._subscribers: list[Callable[[Run, bool], None]] = []
        self.synced = asyncio.Event()

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._by_name.values()))

    def get(self, name: str) -> Run | None:
        return self._by_name.get(name)

    def by_uid(self, uid: str) -> Run | None:
        """There are few runs at a time."""
        return next((run for run in self._by_name.values() if run.uid == uid), None)

    def subscribe(self, subscriber: Callable[[Run, bool], None]) -> Callable[[], None]:
        """Calls `subscriber(run, gone)` for each that exists and each that changes; call the result to stop."""
        for run in self:
            subscriber(run, False)
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        path = config_maps_path(self._namespace)
        async for event in self._kube.watch(path, {"labelSelector": f"{_LABEL}=true"}):
            if event.type == "SYNC":
                found = {each["metadata"]["name"]: each for each in event.object}
                for run in self:
                    if run.name not in found:
                        self._drop(run.name)
                for record in found.values():
                    self.learn(record)
                self.synced.set()
            elif event.type == "DELETED":
                self._drop(event.object["metadata"]["name"])
            else:
                self.learn(event.object)

    def learn(self, record: Any) -> Run | None:
        """Takes a record that the watch, or a write of ours, has shown; None when it is no run."""
        run = read_run_record(record)
        if run is None:
            return None
        known = self._by_name.get(run.name)
        if known is not None and known.uid == run.uid and _revision(known) >= _revision(run):
            return known  # the watch tells late of what a write has shown already
        self._by_name[run.name] = run
        self._tell(run, gone=False)
        return run

    def _drop(self, name: str) -> None:
        run = self._by_name.pop(name, None)
        if run is not None:
            self._tell(run, gone=True)

    def _tell(self, run: Run, *, gone: bool) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(run, gone)

    async def start(self, spec: RunSpec, *, at: float) -> Run:
        """Records a new run, or finds the one that is recorded. Raises `RunInUse`, `KubeError`."""
        name, content = run_name(spec.id), msgspec.json.encode(spec).decode()
        key = digest(content)
        body = {
            "metadata": {
                "name": name,
                "labels": {**MANAGED_BY, _LABEL: "true"},
                "annotations": {PIPELINE: spec.id, _DIGEST: key},
            },
            "data": {"run": content, "state": msgspec.json.encode(begin(spec, at=at)).decode()},
        }
        try:
            record = await self._kube.create(config_maps_path(self._namespace), body)
        except KubeError as error:
            if error.status != 409:
                raise
            record = await self._kube.get(config_maps_path(self._namespace, name))
            if (record["metadata"].get("annotations") or {}).get(_DIGEST) != key:
                raise RunInUse from error
        run = self.learn(record)
        if run is None:
            raise KubeError(status=422, reason="Invalid", message=f"ConfigMap {name} holds no run")
        return run

    async def write(self, run: Run, state: RunState) -> Run:
        """Replaces the state. Raises `KubeError`, 409 when the record has changed since `run`."""
        record = {**run.record, "data": {**run.record["data"], "state": msgspec.json.encode(state).decode()}}
        written = self.learn(await self._kube.replace(config_maps_path(self._namespace, run.name), record))
        if written is None:
            raise KubeError(status=422, reason="Invalid", message=f"ConfigMap {run.name} holds no run")
        return written

    async def read(self, name: str) -> Run | None:
        """The newest version, asked for; None when it is gone. Raises `KubeError`."""
        try:
            return self.learn(await self._kube.get(config_maps_path(self._namespace, name)))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def cancel(self, name: str) -> None:
        """Asks whoever drives the run to end it. Raises `KubeError`."""
        note = {"metadata": {"annotations": {_CANCEL: "true"}}}
        await self._kube.patch(config_maps_path(self._namespace, name), note)

    async def remove(self, run: Run) -> None:
        """Forgets a run that is over. Raises `KubeError`."""
        try:
            body = {"preconditions": {"uid": run.uid}}
            await self._kube.delete(config_maps_path(self._namespace, run.name), body)
        except KubeError as error:
            if error.status not in {404, 409}:
                raise


def _revision(run: Run) -> int:
    """Versions of one resource grow (KEP-5504)."""
    return int(run.version)


def read_run_record(record: Any) -> Run | None:
    """The run in a ConfigMap; None when a person wrote over it."""
    metadata, data = record["metadata"], record.get("data") or {}
    try:
        spec = msgspec.json.decode(data["run"], type=RunSpec)
        state = msgspec.json.decode(data["state"], type=RunState)
        if set(state.stages) != {stage.id for stage in spec.stages}:
            raise msgspec.ValidationError("stages differ")
    except (KeyError, msgspec.DecodeError) as error:
        log.warning("a run's record cannot be read", config_map=metadata["name"], error=error)
        return None
    notes = metadata.get("annotations") or {}
    return Run(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        spec=spec,
        state=state,
        cancelled=notes.get(_CANCEL) == "true",
        record=record,
    )
