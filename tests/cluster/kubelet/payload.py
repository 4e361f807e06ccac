"""Files of a volume, replaced all at once as the kubelet does it.

Each version is a directory of its own; `..data` points to the current one and is swapped by a rename,
and the names that programs open are links through `..data`
(`pkg/volume/util/atomic_writer.go`). A program that watches sees one change, never half of one.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """Content, permission bits, and the owner (None: root)."""

    content: bytes
    mode: int
    uid: int | None = None
    gid: int | None = None


Payload = Mapping[str, PayloadFile]
"""By path inside the volume."""


def write_payload(volume: Path, payload: Payload) -> bool:
    """Makes the volume hold exactly `payload`; says whether that changed anything."""
    current = _current(volume)
    if current is not None and _holds(volume / current, payload):
        return False
    version = volume / f"..{time.strftime('%Y_%m_%d_%H_%M_%S', time.gmtime())}.{time.time_ns() % 10**9:09d}"
    version.mkdir(parents=True)
    for path, file in payload.items():
        target = version / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
        if file.uid is not None or file.gid is not None:
            os.chown(target, -1 if file.uid is None else file.uid, -1 if file.gid is None else file.gid)
    swap = volume / "..data_tmp"
    with contextlib.suppress(FileNotFoundError):
        swap.unlink()
    swap.symlink_to(version.name)
    swap.rename(volume / "..data")
    _link_names(volume, {path.partition("/")[0] for path in payload})
    if current is not None:
        shutil.rmtree(volume / current, ignore_errors=True)
    return True


def read_payload(volume: Path, path: str) -> bytes | None:
    """A file of the volume as it is; None when there is none."""
    try:
        return (volume / path).read_bytes()
    except OSError:
        return None


def _current(volume: Path) -> str | None:
    try:
        return str((volume / "..data").readlink())
    except OSError:
        return None


def _holds(version: Path, payload: Payload) -> bool:
    found = {str(path.relative_to(version)): path for path in version.rglob("*") if path.is_file()}
    return found.keys() == payload.keys() and all(
        found[name].read_bytes() == file.content for name, file in payload.items()
    )


def _link_names(volume: Path, names: set[str]) -> None:
    for name in names:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for entry in list(volume.iterdir()):
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
