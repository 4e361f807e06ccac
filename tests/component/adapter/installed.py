"""The example backend, built as a package and installed beside the adapter, and its queues."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "spool-backend"


def install_example(directory: Path) -> dict[str, str]:
    """Builds the example's wheel and unpacks it in `directory`; the environment in which it is found."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", directory],
        cwd=EXAMPLE,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return {**os.environ, "PYTHONPATH": str(directory)}


class Spool:
    """A queue of the example backend: jobs are files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("new", "work"):
            (directory / name).mkdir(parents=True)

    def add(self, *names: str) -> None:
        for name in names:
            (self.directory / "new" / name).touch()

    def take(self, name: str) -> None:
        (self.directory / "new" / name).rename(self.directory / "work" / name)

    def finish(self, name: str) -> None:
        (self.directory / "work" / name).unlink()

    def entry(self, name: str, *, interval: str = "100ms", extra: str = "") -> str:
        """Its entry in the configuration's `queues`."""
        return f"{{name: {name}, interval: {interval}, spool: {{directory: '{self.directory}'}}{extra}}}"
