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
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ottoscaler
from tests.cluster.binaries import cache_directory, used

ROOT = Path(__file__).parents[2]
PROJECT_IMAGE = f"ottoscaler:{ottoscaler.__version__}"
"""As the chart names it when it is not told otherwise."""
TESTS_IMAGE = os.environ.get("OTTOSCALER_TESTS_IMAGE") or f"ottoscaler-tests:{ottoscaler.__version__}"
"""Test workloads and backends. For another cluster `make images` builds it (tests/cluster/Dockerfile)."""
_SYSTEM = ("/usr", "/etc/ssl", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_LINKS = {"/bin": "usr/bin", "/lib": "usr/lib", "/lib64": "usr/lib64", "/sbin": "usr/sbin"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageError(Exception):
    """The image cannot be imitated: the Dockerfile says something unknown, or its packages do not install."""


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
    """Reads a Dockerfile's last stage. Raises `ImageError` for what it cannot imitate."""
    joined = re.sub(r"\\\n", " ", text)
    lines = [
        line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    begin = max((place for place, line in enumerate(lines) if line.upper().startswith("FROM ")), default=-1)
    stage = Stage()
    for line in lines[begin + 1 :]:
        word, _, rest = line.partition(" ")
        try:
            _apply(stage, word.upper(), rest.strip())
        except ValueError as error:
            raise ImageError(f"tests/cluster/images.py cannot imitate the Dockerfile's: {line}") from error
    return stage


def _apply(stage: Stage, word: str, rest: str) -> None:
    """What one instruction changes. Raises `ValueError` when it is none of the forms known here."""
    match word, rest.split():
        case (("LABEL" | "EXPOSE"), _):
            pass
        case "COPY", [build, source, target] if build.startswith("--from="):
            stage.copies.append((source, target))
        case "ENV", _:
            stage.env |= dict(part.split("=", 1) for part in shlex.split(rest))
        case "USER", [who]:
            user, _, group = who.partition(":")
            stage.user, stage.group = int(user), int(group or user)
        case "WORKDIR", [directory]:
            stage.workdir = directory
        case "ENTRYPOINT", _:
            stage.entrypoint, stage.cmd = json.loads(rest), []
        case "CMD", _:
            stage.cmd = json.loads(rest)
        case _:
            raise ValueError(word)


def prepared() -> Path:
    """A virtual environment with the image's packages and nothing else: made by the same lock, kept."""
    lock = ROOT / "requirements" / "runtime.lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    content = json.dumps([lock.read_text(), project, sys.version])
    target = cache_directory() / f"image-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    done = target / ".complete"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "image.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not done.exists():
            print("making the image's environment", file=sys.stderr, flush=True)
            _install(target, lock)
            done.touch()
        return used(target)


def _install(target: Path, lock: Path) -> None:
    """What the Dockerfile's build stage does. Raises `ImageError` with the installer's words."""
    dist, python = target / "dist", str(target / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "-q"]
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(target)])
    _run([*pip, "--require-hashes", "--requirement", str(lock)])
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)])
    _run([*pip, "--no-deps", "--no-index", str(next(dist.glob("*.whl")))])


def _run(command: list[str]) -> None:
    result = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        raise ImageError(
            f"the image's environment cannot be made: {' '.join(command)}\n{result.stdout[-4000:]}"
        )


def _python_directories() -> list[str]:
    return sorted({sys.base_prefix, os.path.realpath(sys.base_prefix)})


def project_image() -> dict[str, Any]:
    """The project's image as the Dockerfile describes it, with the sources of this tree."""
    stage = last_stage((ROOT / "Dockerfile").read_text())
    environment = prepared()
    if stage.copies != [("/opt/ottoscaler", "/opt/ottoscaler")]:
        raise ImageError(f"the Dockerfile's last stage copies {stage.copies}: teach tests/cluster/images.py")
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

    `ottoscaler-tests` has the test environment and this tree, and so has `python`; `busybox` is the machine's
    own shell and tools.
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
        TESTS_IMAGE: python,
        "python": python,
        "busybox": system | {"cmd": ["sh"]},
    }


def write(path: Path) -> None:
    """Writes the kubelet's list of images."""
    path.write_text(json.dumps(all_images(), indent=1))
