"""The control plane's program, built once and kept outside the tree.

The cache key covers what the result depends on: the sources, the Go version, the flags. A lock makes
two test runs that start together build it once.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SOURCES = Path(__file__).parent / "controlplane"


_BUILDS_KEPT = 3
_UNUSED_SECONDS = 24 * 3600.0


class BuildError(Exception):
    """The program could not be built; the message is the compiler's."""


def kubernetes_version() -> str:
    """The version in `go.mod`, e.g. `v1.34.4`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{SOURCES / 'go.mod'} does not require k8s.io/kubernetes")
    return found[1]


def _flags() -> list[str]:
    """Without a version the server calls itself v0.0.0, which a chart's `kubeVersion` refuses."""
    version = kubernetes_version()
    stamp = "k8s.io/component-base/version"
    minor = version.split(".")[1]
    linked = f"-s -w -X {stamp}.gitVersion={version} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}"
    return ["-trimpath", "-buildvcs=false", "-ldflags", linked]


def cache_directory() -> Path:
    """Where built programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ottoscaler"


def used(build: Path) -> Path:
    """Notes that a build in the cache is used now, and removes those of its kind that nobody uses any more.

    A kind is what comes before the dash. Its newest few are kept, and whatever was used within a day: other
    trees on this machine have builds there, too.
    """
    os.utime(build)
    kind = build.name.partition("-")[0]
    found = sorted(build.parent.glob(f"{kind}-*"), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in found[_BUILDS_KEPT:]:
        if old.stat().st_mtime < time.time() - _UNUSED_SECONDS:
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)
    return build


def _key(flags: list[str]) -> str:
    digest = hashlib.sha256()
    for part in sorted(SOURCES.iterdir()):
        digest.update(part.name.encode() + b"\0" + part.read_bytes() + b"\0")
    version = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    digest.update("\0".join([version, *flags]).encode())
    return digest.hexdigest()[:16]


def controlplane() -> Path:
    """The program's path, after building it if need be (minutes the first time). Raises `BuildError`."""
    if shutil.which("go") is None:
        raise BuildError("the control plane needs Go (1.24 or newer) on the PATH")
    flags = _flags()
    target = cache_directory() / f"controlplane-{_key(flags)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            return used(target)
        print("building the control plane; the first time takes some minutes", file=sys.stderr, flush=True)
        partial = target.with_suffix(".partial")
        result = subprocess.run(
            ["go", "build", *flags, "-o", str(partial), "."],
            cwd=SOURCES,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BuildError(f"go build failed:\n{result.stdout[-4000:]}")
        partial.rename(target)
        return used(target)
