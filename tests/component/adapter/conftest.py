"""The example backend is installed once for all tests of this directory."""

from pathlib import Path

import pytest

from tests.component.adapter.installed import Spool, install_example


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `ottoscaler` knows the backend `spool`."""
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")
