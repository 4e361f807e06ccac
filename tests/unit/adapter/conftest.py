"""The fake backend is all that the registry knows, under two names."""

import pytest

from ottoscaler.adapter.sources import registry


@pytest.fixture(autouse=True)
def _fake_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = "tests.unit.adapter.fake_backend:BACKEND"
    monkeypatch.setattr(registry, "_BUILT_IN", {"fake": fake, "twin": fake})
