"""A container's file system and process, as options of bubblewrap.

bubblewrap makes missing parents of a mount with mode 0700, which would keep a container that is not
root from its own service-account token; every parent is therefore made first, open to all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.fields import expand
from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.security import Identity
from tests.cluster.kubelet.volumes import Volumes

Json = dict[str, Any]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class _Mounts:
    """Collects options; knows which directories exist already."""

    options: list[str] = field(default_factory=list)
    _made: set[PurePosixPath] = field(default_factory=lambda: {PurePosixPath("/")})
    _bound: set[PurePosixPath] = field(default_factory=set)

    def directory(self, path: str, *, mode: str = "0755") -> None:
        for parent in reversed((PurePosixPath(path), *PurePosixPath(path).parents)):
            if parent not in self._made and not any(p in self._bound for p in parent.parents):
                self._made.add(parent)
                own = str(parent) == path
                self.options += ["--perms", mode if own else "0755", "--dir", str(parent)]

    def bind(self, source: Path, target: str, *, read_only: bool) -> None:
        self.directory(str(PurePosixPath(target).parent))
        self.options += ["--ro-bind" if read_only else "--bind", str(source), target]
        self._made.add(PurePosixPath(target))
        self._bound.add(PurePosixPath(target))


def base_environment(image: Image, identity: Identity, hostname: str) -> dict[str, str]:
    """What a container runtime sets by itself, and the image's own."""
    home = "/root" if identity.uid == 0 else "/"
    return {"PATH": DEFAULT_PATH, "HOME": home, "HOSTNAME": hostname, **image.env}


def command(container: Json, image: Image, variables: Mapping[str, str]) -> list[str]:
    """`command` replaces the image's entrypoint and its arguments; `args` its arguments only."""
    if container.get("command"):
        words = [*container["command"], *(container.get("args") or [])]
    else:
        arguments = container["args"] if container.get("args") is not None else image.cmd
        words = [*image.entrypoint, *arguments]
    if not words:
        raise ConfigurationProblem("no command specified")
    return [expand(word, variables) for word in words]


def options(
    container: Json,
    *,
    image: Image,
    identity: Identity,
    variables: Mapping[str, str],
    volumes: Volumes,
    etc: Path,
    hostname: str,
    termination_log: Path,
) -> list[str]:
    """The options before the command. Raises `ConfigurationProblem`."""
    mounts = _Mounts()
    for link, target in image.symlinks.items():
        mounts.options += ["--symlink", target, link]
    mounts.options += ["--proc", "/proc", "--dev", "/dev"]
    # a machine whose Python lives under /root must show it to containers that are not root
    home = "0755" if any(target.startswith("/root/") for _, target in image.binds()) else "0700"
    for path, mode in (("/run", "0755"), ("/var", "0755"), ("/root", home), ("/tmp", "1777")):
        mounts.directory(path, mode=mode)
    mounts.options += ["--symlink", "/run", "/var/run"]
    for origin, target in image.binds():
        mounts.bind(Path(origin), target, read_only=True)
    for name in ("resolv.conf", "hosts", "hostname"):
        mounts.bind(etc / name, f"/etc/{name}", read_only=True)
    termination = container.get("terminationMessagePath") or "/dev/termination-log"
    mounts.bind(termination_log, _real(termination), read_only=False)
    for mount in sorted(container.get("volumeMounts") or [], key=lambda mount: str(mount["mountPath"])):
        volume = volumes[mount["name"]]
        source = _source(mount, volume.path, variables)
        mounts.bind(
            source, _real(mount["mountPath"]), read_only=bool(mount.get("readOnly")) or volume.read_only
        )
    workdir = container.get("workingDir") or image.workdir
    mounts.directory(workdir)
    if identity.read_only_root:
        mounts.options += ["--remount-ro", "/"]
    environment = [word for item in variables.items() for word in ("--setenv", *item)]
    capabilities = [
        word for name in sorted(identity.sandbox_capabilities) for word in ("--cap-add", f"CAP_{name}")
    ]
    return [
        *("--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1"),
        *("--hostname", hostname, "--clearenv", "--cap-drop", "ALL"),
        *capabilities,
        *mounts.options,
        *environment,
        *("--chdir", workdir),
    ]


def _real(path: str) -> str:
    """`/var/run` is a link to `/run`, and bubblewrap would replace it by a directory."""
    clean = str(PurePosixPath(path))
    return clean.replace("/var/run/", "/run/", 1) if clean.startswith("/var/run/") else clean


def _source(mount: Json, volume: Path, variables: Mapping[str, str]) -> Path:
    inner = expand(mount["subPathExpr"], variables) if mount.get("subPathExpr") else mount.get("subPath", "")
    if not inner:
        return volume
    if ".." in PurePosixPath(inner).parts or inner.startswith("/"):
        raise ConfigurationProblem(f"subPath {inner!r} leads out of the volume")
    source = volume / inner
    if not source.exists():
        source.mkdir(parents=True)
        source.chmod(0o777)
    return source.resolve()
