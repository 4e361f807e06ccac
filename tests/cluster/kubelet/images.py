"""The node's images: a JSON file says what each image's name stands for on this machine.

An image here is a set of read-only directories of the machine, symbolic links, and what a Dockerfile
says of the process. The file is read again when it changes, which is this node's `docker push`.
"""

from pathlib import Path

import msgspec

from tests.cluster.kubelet.errors import ImageMissing


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """`ro`: paths bound at the same place, or pairs of a path here and its place in the container."""

    ro: list[str | tuple[str, str]] = []
    symlinks: dict[str, str] = {}
    env: dict[str, str] = {}
    entrypoint: list[str] = []
    cmd: list[str] = []
    uid: int | None = None
    gid: int | None = None
    workdir: str = "/"

    def binds(self) -> list[tuple[str, str]]:
        """Each path here with its place in the container."""
        return [(entry, entry) if isinstance(entry, str) else entry for entry in self.ro]


class Images:
    """Looks up images by the names that pods use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._images: dict[str, Image] = {}

    def find(self, name: str) -> Image:
        """The image of that name. Raises `ImageMissing`."""
        self._reload()
        image = self._images.get(canonical(name))
        if image is None:
            raise ImageMissing(f'failed to pull image "{name}": it has no entry in {self._path.name}')
        return image

    def _reload(self) -> None:
        try:
            stat = self._path.stat()
            if (version := (stat.st_mtime_ns, stat.st_ino)) == self._version:
                return
            images = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Image])
        except OSError:
            return  # between two writes of it the old content counts
        except msgspec.DecodeError as error:
            raise ImageMissing(f"{self._path.name} cannot be read: {error}") from error
        self._images = {canonical(name): image for name, image in images.items()}
        self._version = version


def canonical(name: str) -> str:
    """`busybox` and `docker.io/library/busybox:latest` are one image, as for a container runtime."""
    for prefix in ("docker.io/library/", "docker.io/"):
        name = name.removeprefix(prefix)
    name = name.partition("@")[0]
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
