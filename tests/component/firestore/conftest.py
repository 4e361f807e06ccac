"""One emulator serves all tests; each takes a project of its own.

Where the emulator is missing, its tests are skipped loudly; in CI (the variable `CI` is set) they fail.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import Iterator

import pytest

from tests.firestore.emulator import HOW_TO_GET_IT, Emulator, jar

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    file = jar()
    if file is None or shutil.which("java") is None:
        if os.environ.get("CI"):
            pytest.fail(HOW_TO_GET_IT)
        pytest.skip(HOW_TO_GET_IT)
    with asyncio.Runner() as runner:
        emulator = Emulator(file)
        runner.run(emulator.start())
        try:
            yield emulator
        finally:
            runner.run(emulator.stop())


@pytest.fixture
def project(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty project in the emulator, which Google's clients find by its variable."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator.address)
    return f"test-{next(_numbers)}"
