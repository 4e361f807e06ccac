"""A pod's volumes: made before its containers start, kept equal to their sources afterwards."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.data import read_data
from tests.cluster.kubelet.errors import ConfigurationProblem, VolumeProblem
from tests.cluster.kubelet.fields import field, resource
from tests.cluster.kubelet.objects import Kind, ObjectReader
from tests.cluster.kubelet.payload import Payload, PayloadFile, read_payload, write_payload
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.tokens import renewal_time, request_token

Json = dict[str, Any]
_KINDS: dict[str, Kind] = {"configMap": "configmaps", "secret": "secrets"}
_WRITTEN = ("configMap", "secret", "projected", "downwardAPI")
_DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Mounted:
    """Where a volume lies on the node, and whether containers may only read it."""

    path: Path
    read_only: bool


class Volumes:
    """The volumes of one pod, under `directory`."""

    def __init__(self, directory: Path, reader: ObjectReader, context: NodeContext) -> None:
        self._directory = directory
        self._reader = reader
        self._context = context
        self._mounted: dict[str, Mounted] = {}
        self._written: dict[str, Payload] = {}
        self._renewals: dict[Path, float] = {}

    @property
    def renewal(self) -> float | None:
        """When the first token is to be renewed, in seconds since the epoch; None without tokens."""
        return min(self._renewals.values(), default=None)

    def __getitem__(self, name: str) -> Mounted:
        return self._mounted[name]

    async def prepare(self, pod: PodObject, address: str) -> None:
        """Makes every volume. Raises `VolumeProblem`; may be called again."""
        for volume in pod.volumes:
            name = volume["name"]
            if "hostPath" in volume:
                self._mounted[name] = Mounted(_host_path(volume["hostPath"]), read_only=False)
                continue
            path = self._directory / name
            path.mkdir(parents=True, exist_ok=True)
            if "emptyDir" in volume:
                path.chmod(0o777)
                self._mounted[name] = Mounted(path, read_only=False)
            elif any(kind in volume for kind in _WRITTEN):
                self._mounted[name] = Mounted(path, read_only=True)
                await self._write(pod, volume, address)
            else:
                kinds = ", ".join(sorted(volume.keys() - {"name"}))
                raise VolumeProblem(f'volume "{name}": this node has no volumes of the kind {kinds}')

    async def refresh(self, pod: PodObject, address: str) -> None:
        """Brings the written volumes up to date; one that cannot be read keeps its content."""
        for volume in pod.volumes:
            if any(kind in volume for kind in _WRITTEN):
                with contextlib.suppress(VolumeProblem):
                    await self._write(pod, volume, address)

    async def _write(self, pod: PodObject, volume: Json, address: str) -> None:
        name = volume["name"]
        whole: Json = volume.get("projected") or {}
        sources: list[Json] = whole["sources"] if whole else [volume]
        payload: dict[str, PayloadFile] = {}
        try:
            for source in sources:
                payload |= await self._project(
                    pod, source, self._directory / name, address, whole.get("defaultMode")
                )
        except ConfigurationProblem as problem:
            raise VolumeProblem(f'MountVolume.SetUp failed for volume "{name}": {problem}') from problem
        if payload != self._written.get(name):
            write_payload(self._directory / name, payload)
            self._written[name] = payload

    async def _project(
        self, pod: PodObject, source: Json, volume: Path, address: str, default_mode: int | None
    ) -> Payload:
        group = pod.security.get("fsGroup")
        if token := source.get("serviceAccountToken"):
            return {token["path"]: await self._token(pod, token, volume)}
        for word, kind in _KINDS.items():
            if word in source:
                return await self._files(source[word], kind, default_mode, group)
        if "downwardAPI" in source:
            mode = source["downwardAPI"].get("defaultMode") or default_mode or _DEFAULT_MODE
            items = source["downwardAPI"].get("items") or []
            return {
                item["path"]: _file(self._downward(pod, item, address), item.get("mode", mode), group)
                for item in items
            }
        raise VolumeProblem(f"volume source {', '.join(source)} is not known to this node")

    async def _files(self, source: Json, kind: Kind, default_mode: int | None, group: int | None) -> Payload:
        name = source.get("name") or source.get("secretName", "")
        optional = bool(source.get("optional"))
        data = await read_data(self._reader, kind, name, optional=optional)
        mode = source.get("defaultMode") or default_mode or _DEFAULT_MODE
        items = source.get("items")
        if not items:
            return {key: _file(content, mode, group) for key, content in data.items()}
        missing = [item["key"] for item in items if item["key"] not in data]
        if missing and not optional:
            raise ConfigurationProblem(f"references non-existent {kind[:-1]} key: {missing[0]}")
        return {
            item["path"]: _file(data[item["key"]], item.get("mode", mode), group)
            for item in items
            if item["key"] in data
        }

    async def _token(self, pod: PodObject, source: Json, volume: Path) -> PayloadFile:
        known = read_payload(volume, source["path"])
        renewal = 0.0 if known is None else renewal_time(known.decode(errors="replace"))
        if known is None or renewal <= time.time():
            token = await request_token(self._context.api, pod, source)
            known, renewal = token.encode(), renewal_time(token)
        self._renewals[volume / source["path"]] = renewal
        # Readable for the pod's user where that is one user, for its group, or else for everybody.
        group = pod.security.get("fsGroup")
        users = {
            (c.get("securityContext") or {}).get("runAsUser", pod.security.get("runAsUser"))
            for c in pod.containers
        }
        if group is not None:
            return PayloadFile(known, 0o640, gid=group)
        if len(users) == 1 and None not in users:
            return PayloadFile(known, 0o600, uid=cast("int", users.pop()))
        return PayloadFile(known, 0o644)

    def _downward(self, pod: PodObject, item: Json, address: str) -> bytes:
        settings = self._context.settings
        if reference := item.get("resourceFieldRef"):
            return resource(pod, reference, {}, capacity=settings.capacity).encode()
        return field(pod, item["fieldRef"]["fieldPath"], address=address, node_ip=settings.node_ip).encode()


def _file(content: bytes, mode: int, group: int | None) -> PayloadFile:
    """With `fsGroup` the group may read, whatever the mode says."""
    return PayloadFile(content, mode if group is None else mode | 0o440, gid=group)


def _host_path(source: Json) -> Path:
    path, kind = Path(source["path"]), source.get("type") or ""
    match kind:
        case "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "FileOrCreate":
            path.touch(mode=0o644)
    right = {"Directory": path.is_dir, "File": path.is_file, "Socket": path.is_socket}.get(kind, path.exists)
    if not right():
        raise VolumeProblem(f"hostPath type check failed: {path} is not a {kind or 'path'}")
    return path
