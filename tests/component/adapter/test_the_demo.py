"""What `make run` shows: the picture of the README, with Redis or without."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def steps(text: str) -> list[str]:
    """Its lines that show values, without remarks in brackets and without alignment."""
    shown = [line for line in text.splitlines() if "queue_waiting=" in line]
    return [" ".join(re.sub(r" \(.*?\)", "", line).split()) for line in shown]


@pytest.mark.parametrize("redis", ["installed", "embedded"])
async def test_the_main_job_is_shown_as_the_readme_promises(redis: str, tmp_path: Path) -> None:
    path = os.environ["PATH"] if redis == "installed" else str(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "examples/demo.py"),
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    assert steps(output) == steps((ROOT / "README.md").read_text())
    assert ("an embedded stand-in" in output) is (redis == "embedded")
    if redis == "embedded":  # and nothing else is on the path
        (ours,) = [line for line in output.splitlines() if "metrics get" in line]
        assert (ROOT / ours.split()[0]).exists(), "the line can be pasted"
