"""What the names of images stand for in a test cluster, where no image can be built or pulled.

The project's own image follows the Dockerfile: the user, variables, directory and command of its last
stage are read from that file, and what it copies from the build stage is made here by the same lock.
A change of the Dockerfile that the tests cannot follow is an error, not a drift.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ottoscaler
from tests.cluster.binaries import cache_directory

ROOT = Path(__file__).parents[2]
PROJECT_IMAGE = f"ottoscaler:{ottoscaler.__version__}"
"""As the chart names it when it is not told otherwise."""
_SYSTEM = ("/usr", "/etc/ssl", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_LINKS = {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64", "/sbin": "usr/sbin"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class DockerfileError(Exception):
    """The Dockerfile says something that the test cluster cannot imitate."""


@dataclass(slots=True)
class Stage:
    """What the last stage of a Dockerfile says of the container."""

    copies: list[tuple[str, str]] = field(default_factory=list)
    """Source in the build stage, destination."""
    env: dict[str, str] = field(default_factory=dict)
    user: int = 0
    group: int = 0
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)


def last_stage(text: str) -> Stage:
    """Reads a Dockerfile's last stage. Raises `DockerfileError` for what it does not know."""
    stage = Stage()
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        match word.upper():
            case "" | "#":
                pass
            case comment if comment.startswith("#"):
                pass
            case "FROM":
                stage = Stage()
            case "RUN" | "LABEL" | "EXPOSE" | "ARG":
                pass
            case "COPY":
                *_, source, target = rest.split()
                stage.copies.append((source, target))
            case "ENV":
                stage.env |= dict(part.split("=", 1) for part in shlex.split(rest))
            case "USER":
                user, _, group = rest.partition(":")
                stage.user, stage.group = int(user), int(group or user)
            case "WORKDIR":
                stage.workdir = rest
            case "ENTRYPOINT":
                stage.entrypoint, stage.cmd = json.loads(rest), []
            case "CMD":
                stage.cmd = json.loads(rest)
            case other:
                raise DockerfileError(f"the Dockerfile's {other} is not known to tests/cluster/images.py")
    return stage


def _environment() -> Path:
    """A virtual environment with the image's packages and nothing else: made by the same lock, kept."""
    lock, project = ROOT / "requirements" / "runtime.lock", ROOT / "pyproject.toml"
    key = hashlib.sha256(lock.read_bytes() + project.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = cache_directory() / f"image-{key}"
    done = target / ".complete"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "image.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not done.exists():
            print("making the image's environment", file=sys.stderr, flush=True)
            pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            no_cache = {"env": os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}, "check": True}
            wheel = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(target / "dist")]
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(target)], check=True)
            subprocess.run([*pip, "--require-hashes", "--requirement", str(lock)], **no_cache)  # type: ignore[call-overload]
            subprocess.run(
                [sys.executable, *wheel],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            built = next((target / "dist").glob("*.whl"))
            subprocess.run([*pip, "--no-deps", "--no-index", str(built)], check=True)
            done.touch()
    return target


def _python_directories() -> list[str]:
    return sorted({sys.base_prefix, os.path.realpath(sys.base_prefix)})


def project_image() -> dict[str, Any]:
    """The project's image as the Dockerfile describes it, with the sources of this tree."""
    stage = last_stage((ROOT / "Dockerfile").read_text())
    environment = _environment()
    if stage.copies != [("/opt/ottoscaler", "/opt/ottoscaler")]:
        raise DockerfileError(
            f"the Dockerfile's last stage copies {stage.copies}: teach tests/cluster/images.py"
        )
    packages = next((environment / "lib").glob("python3*")) / "site-packages" / "ottoscaler"
    return {
        "ro": [
            *_SYSTEM,
            *_python_directories(),
            str(environment),
            [str(environment), "/opt/ottoscaler"],
            [str(ROOT / "ottoscaler"), str(packages)],
        ],
        "symlinks": _LINKS,
        "env": stage.env,
        "entrypoint": stage.entrypoint,
        "cmd": stage.cmd,
        "uid": stage.user,
        "gid": stage.group,
        "workdir": stage.workdir,
    }


def all_images() -> dict[str, dict[str, Any]]:
    """Every image of a test cluster by name.

    `python` has the test environment and this tree, for test workloads and backends; `busybox` is the
    machine's own shell and tools.
    """
    system: dict[str, Any] = {"ro": list(_SYSTEM), "symlinks": _LINKS, "env": {"PATH": _PATH}}
    tree = [str(ROOT / "tests"), str(ROOT / "ottoscaler"), sys.prefix]
    python = system | {
        "ro": sorted({*_SYSTEM, *_python_directories(), *tree}),
        "env": {
            "PATH": f"{sys.prefix}/bin:{_PATH}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        "entrypoint": ["python3"],
    }
    return {
        PROJECT_IMAGE: project_image(),
        "python": python,
        "busybox": system | {"cmd": ["sh"]},
    }


def write(path: Path) -> None:
    """Writes the kubelet's list of images."""
    path.write_text(json.dumps(all_images(), indent=1))
