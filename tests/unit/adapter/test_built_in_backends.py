"""Every built-in backend keeps the contract: its block, its struct, its schema, without its client library."""

import subprocess
import sys

import msgspec
import pytest

from ottoscaler.adapter.config.schema import schema
from ottoscaler.adapter.sources import registry

BUILT_IN = ("firebase", "firestore", "prometheus", "redis")
CLIENT_LIBRARIES = ("redis", "firebase_admin", "google.cloud.firestore", "grpc", "kubernetes")


@pytest.fixture(autouse=True)
def _fake_blocks() -> None:
    """The real registry, not the fakes of the other tests."""


@pytest.mark.parametrize("block", BUILT_IN)
def test_it_is_called_what_the_registry_calls_it(block: str) -> None:
    backend = registry.load(block)
    assert backend is not None
    assert backend.block == block
    assert issubclass(backend.settings, msgspec.Struct)
    config = backend.settings.__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields


def test_the_schema_has_a_block_for_each() -> None:
    queue = schema()["properties"]["queues"]["items"]
    assert {choice["required"][0] for choice in queue["oneOf"]} >= set(BUILT_IN)
    for block in BUILT_IN:
        assert queue["properties"][block]["additionalProperties"] is False


def test_judging_a_configuration_loads_no_client_library() -> None:
    script = (
        "import sys\n"
        "from ottoscaler.adapter.sources import registry\n"
        f"for block in {BUILT_IN!r}: registry.load(block)\n"
        f"print([name for name in {CLIENT_LIBRARIES!r} if name in sys.modules])\n"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
