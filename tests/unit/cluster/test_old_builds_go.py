"""The cache of builds does not grow for ever, and takes nothing away that is used."""

import os
import time
from pathlib import Path

from tests.cluster.binaries import used

DAY = 24 * 3600


def build(directory: Path, name: str, *, days: float) -> Path:
    """A build that was last used `days` ago, a directory where it is an image."""
    made = directory / name
    if name.startswith("image"):
        made.mkdir()
        (made / "file").touch()
    else:
        made.touch()
    moment = time.time() - days * DAY
    os.utime(made, (moment, moment))
    return made


def left(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def test_the_newest_of_a_kind_stay_and_the_one_in_use_is_the_newest(tmp_path: Path) -> None:
    for days in range(2, 8):
        build(tmp_path, f"controlplane-{days}", days=days)
        build(tmp_path, f"image-{days}", days=days)
    others = {f"image-{days}" for days in range(2, 8)} | {"build.lock"}
    (tmp_path / "build.lock").touch()
    used(tmp_path / "controlplane-7")
    assert left(tmp_path) == others | {"controlplane-7", "controlplane-2", "controlplane-3"}
    used(tmp_path / "image-4")
    assert {"image-4", "image-2", "image-3"} == {name for name in left(tmp_path) if "image" in name}


def test_what_another_tree_used_today_stays(tmp_path: Path) -> None:
    names = {f"image-{number}" for number in range(6)}
    for number in range(6):
        build(tmp_path, f"image-{number}", days=number / 10)
    used(tmp_path / "image-0")
    assert left(tmp_path) == names
