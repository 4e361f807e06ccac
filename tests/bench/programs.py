"""The Go programs of the benchmarks, built once and kept outside the tree."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.cluster.binaries import BuildError, cache_directory, used

SOURCES = Path(__file__).parent / "go"
_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")


def built(*names: str) -> dict[str, Path]:
    """The paths of `names` (directories in `go/`), built if need be. Raises `BuildError`."""
    directory = cache_directory() / f"bench-{_key()}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in names if not (directory / name).exists()]
        if missing:
            print(f"building {', '.join(missing)}; the first time takes minutes", file=sys.stderr, flush=True)
            command = ["go", "build", *_FLAGS, "-o", f"{directory}/", *(f"./{name}" for name in missing)]
            result = subprocess.run(
                command, cwd=SOURCES, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            if result.returncode:
                raise BuildError(f"go build failed:\n{result.stdout[-4000:]}")
        used(directory)
    return {name: directory / name for name in names}


def _key() -> str:
    digest = hashlib.sha256()
    for file in sorted(SOURCES.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(SOURCES)}\0".encode() + file.read_bytes() + b"\0")
    version = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout
    return hashlib.sha256(digest.digest() + version.encode() + "\0".join(_FLAGS).encode()).hexdigest()[:16]
