"""The `firestore` block, and the emulator that its tests need."""

from pathlib import Path
from typing import Any

import pytest

from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings
from tests.firestore.emulator import VARIABLE, jar


@pytest.mark.parametrize("collection", ["jobs", "queues/generator/jobs", "ü x"])
def test_a_collection(collection: str) -> None:
    assert FirestoreSettings(collection=collection).group == collection.rpartition("/")[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"collection": ""}, "is no path of a collection"),
        ({"collection": "a/b"}, "is no path of a collection"),
        ({"collection": "/a/b"}, "is no path of a collection"),
        ({"collection": "a//b"}, "is no path of a collection"),
        ({"collection": "."}, "is no path of a collection"),
        ({"collection": "__all__"}, "is no path of a collection"),
        ({"collection": "a", "project": "a b"}, "is no project ID"),
        ({"collection": "a", "database": "X"}, "is no database ID"),
        ({"collection": "a", "waiting_states": ("pending", "failed")}, "failed does not mean waiting"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FirestoreSettings(**settings)


def test_the_emulator_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "emulator.jar"
    assert jar({VARIABLE: str(file)}) is None
    file.touch()
    assert jar({VARIABLE: str(file)}) == file


def test_the_emulator_is_found_below_the_cloud_sdk(tmp_path: Path) -> None:
    file = tmp_path / "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
    file.parent.mkdir(parents=True)
    file.touch()
    assert jar({"CLOUDSDK_ROOT_DIR": str(tmp_path)}) == file
