"""Runs of pipelines as the cluster keeps them: one ConfigMap each, all known by one watch."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import msgspec

from ottoscaler.orchestrator.kube_api import Kube, config_maps_path
from ottoscaler.orchestrator.naming import DOMAIN, MANAGED_BY, digest, run_name
from ottoscaler.orchestrator.pipelines.marks import LEFT, mark_of
from ottoscaler.orchestrator.pipelines.model import RunSpec, RunState, begin
from ottoscaler.orchestrator.pipelines.record import DIGEST, Run, read_record
from ottoscaler.orchestrator.worker import PIPELINE
from ottoscaler.runtime.kube import KubeError

_LABEL = f"{DOMAIN}/run"
_TRIES = 5


class RunInUse(Exception):
    """The pipeline's id belongs to a run that asks for something else."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.name)
        self.run = run


class NoRun(Exception):
    """A ConfigMap with the name of the run's record holds no run."""

    def __init__(self, name: str) -> None:
        super().__init__(f"ConfigMap {name} stands in the way and holds no run: delete it")


class Runs:
    """The runs of one namespace. `run` keeps them; subscribers are told of each that changes or goes."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._by_name: dict[str, Run] = {}
        self._names: dict[str, str] = {}
        """By uid."""
        self._subscribers: list[Callable[[Run, bool], None]] = []
        self.synced = asyncio.Event()

    def __iter__(self) -> Iterator[Run]:
        return iter(tuple(self._by_name.values()))

    def by_uid(self, uid: str) -> Run | None:
        return self._by_name.get(self._names.get(uid, ""))

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
                    if run.name not in found and not event.predates(str(run.revision)):
                        self._drop(run.name)
                for record in found.values():
                    self.learn(record)
                self.synced.set()
            elif event.type == "DELETED":
                self._drop(event.object["metadata"]["name"], event.object["metadata"]["uid"])
            else:
                self.learn(event.object)

    def learn(self, record: Any) -> Run | None:
        """Takes a record that the watch, or a write of ours, has shown; None when it is no run.

        A run that a person wrote over is gone, as if they had deleted it.
        """
        known = self._by_name.get(record["metadata"]["name"])
        run = read_record(record, known)
        if run is None:
            if known is not None and known.uid == record["metadata"]["uid"]:
                self._drop(known.name)
            return None
        if known is not None and known.uid == run.uid and known.revision >= run.revision:
            return known  # the watch tells late of what a write has shown already
        if known is not None and known.uid != run.uid:
            if known.revision > run.revision:
                return known
            self._drop(known.name)
        self._by_name[run.name] = run
        self._names[run.uid] = run.name
        self._tell(run, gone=False)
        return run

    def _drop(self, name: str, uid: str | None = None) -> None:
        run = self._by_name.get(name)
        if run is None or uid not in {None, run.uid}:
            return
        del self._by_name[name]
        del self._names[run.uid]
        self._tell(run, gone=True)

    def _tell(self, run: Run, *, gone: bool) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(run, gone)

    async def start(self, spec: RunSpec, *, at: float, follower: str) -> Run:
        """Records a new run, or finds the one that is recorded; either way marked as followed by `follower`.

        Raises `RunInUse`, `NoRun`, `KubeError`.
        """
        name = run_name(spec.id)
        # Maps of a message come in any order; the same definition must give the same digest.
        content = msgspec.json.encode(spec, order="deterministic").decode()
        body = {
            "metadata": {
                "name": name,
                "labels": {**MANAGED_BY, _LABEL: "true"},
                "annotations": {PIPELINE: spec.id, DIGEST: digest(content), **mark_of(follower, at)},
            },
            "data": {"run": content, "state": msgspec.json.encode(begin(spec, at=at)).decode()},
        }
        for _ in range(_TRIES):
            try:
                record = await self._kube.create(config_maps_path(self._namespace), body)
            except KubeError as error:
                if error.status != 409:
                    raise
            else:
                return self.learn(record) or _none(name)
            run = await self.read(name)
            if run is None:
                continue  # it was removed in between
            if run.digest != digest(content):
                raise RunInUse(run)
            if run.state.over:
                return run
            try:
                return await self.mark(run, follower, at=at)
            except KubeError as error:
                if error.status not in {404, 409}:
                    raise  # else it was removed in between, and perhaps begun again
        raise KubeError(status=0, reason="Conflict", message=f"run {name} comes and goes")

    async def mark(self, run: Run, follower: str, *, at: float) -> Run:
        """Notes that `follower` follows the run from now on: that somebody left before counts no more.

        Raises `KubeError`.
        """
        return await self._annotate(run, {**mark_of(follower, at), LEFT: None})

    async def renew(self, run: Run, follower: str, *, at: float) -> None:
        """Notes that `follower` still follows the run. Raises `KubeError`.

        Nothing else: one that was under way when the last client left may arrive after `leave`.
        """
        await self._annotate(run, {**mark_of(follower, at)})

    async def leave(self, run: Run, follower: str) -> None:
        """Notes that `follower`'s client is gone: whoever drives the run ends it when nobody else follows it.

        Raises `KubeError`.
        """
        await self._annotate(run, dict.fromkeys(mark_of(follower, 0.0)) | {LEFT: "true"})

    async def unmark(self, run: Run, follower: str) -> None:
        """Notes that `follower` does not follow the run any more, whatever its client wants. Raises `KubeError`.

        That somebody left before counts no more: the client is told to call again, and may do so late.
        """
        await self._annotate(run, {**dict.fromkeys(mark_of(follower, 0.0)), LEFT: None})

    async def _annotate(self, run: Run, notes: dict[str, str | None]) -> Run:
        """The uid is a precondition: another run of that name is not meant."""
        body = {"metadata": {"uid": run.uid, "annotations": notes}}
        patched = self.learn(await self._kube.patch(config_maps_path(self._namespace, run.name), body))
        return patched or run

    async def write(self, run: Run, state: RunState) -> Run:
        """Replaces the state. Raises `KubeError`, 409 when the record has changed since `run`."""
        data = {**run.record["data"], "state": msgspec.json.encode(state).decode()}
        record = {**run.record, "data": data}
        written = self.learn(await self._kube.replace(config_maps_path(self._namespace, run.name), record))
        if written is None:
            raise KubeError(status=422, reason="Invalid", message=f"ConfigMap {run.name} holds no run")
        return written

    async def read(self, name: str) -> Run | None:
        """The newest version, asked for; None when it is gone. Raises `KubeError`, `NoRun`."""
        known = self._by_name.get(name)
        try:
            record = await self._kube.get(config_maps_path(self._namespace, name))
        except KubeError as error:
            if error.status == 404:
                if known is not None:
                    self._drop(name, known.uid)
                return None
            raise
        return self.learn(record) or _none(name)

    async def remove(self, run: Run) -> None:
        """Forgets a run that is over. Raises `KubeError`."""
        try:
            body = {"preconditions": {"uid": run.uid}}
            await self._kube.delete(config_maps_path(self._namespace, run.name), body)
        except KubeError as error:
            if error.status not in {404, 409}:
                raise


def _none(name: str) -> NoReturn:
    raise NoRun(name)
