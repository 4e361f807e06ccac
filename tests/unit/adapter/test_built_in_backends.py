"""Every built-in backend keeps the contract: its block, its struct, its schema, without its client library."""

import subprocess
import sys

import msgspec
import pytest

from ottoscaler.adapter.config.load import ConfigError, from_text
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


@pytest.mark.parametrize(
    ("block", "options", "expected"),
    [
        (
            "firestore: {collection: jobs}",
            "{interval: 1s, maxAge: 5s}",
            "maxAge 5s must be longer than the interval, 10s at least for firestore",
        ),
        (
            "firestore: {collection: jobs}",
            "{interval: 1s, maxAge: 10s}",
            "maxAge 10s must be longer than the interval, 10s at least for firestore",
        ),
        (
            "firestore: {collection: jobs}",
            "{maxAge: 1m}",
            "maxAge 1m0s must be longer than the interval, 1m0s by default for firestore",
        ),
        ("firestore: {collection: jobs}", "{interval: 1s, maxAge: 11s, stalledAfter: 1m}", None),
        ("firebase: {databaseURL: https://x.firebaseio.com}", "{stalledAfter: 1m}", None),
        ("redis: {url: redis://r, stream: a, group: b}", "{stalledAfter: 1m}", None),
        (
            "redis: {url: redis://r, lists: {waiting: [a]}}",
            "{stalledAfter: 1m}",
            "stalledAfter means nothing for redis-list, which tells of no job when it was last worked on: leave it out",
        ),
        ("redis: {url: redis://r, lists: {waiting: [a]}}", "{}", None),
        (
            "prometheus: {url: http://p, waiting: x}",
            "{stalledAfter: 1m}",
            "stalledAfter means nothing for prometheus, which tells of no job when it was last worked on: leave it out",
        ),
    ],
)
def test_its_own_rules_on_the_options_of_a_queue(block: str, options: str, expected: str | None) -> None:
    text = f"queues:\n- {{{', '.join(filter(None, ('name: jobs', block, options[1:-1])))}}}\n"
    try:
        (queue,) = from_text(text.encode(), name="c", environ={}).queues
    except ConfigError as error:
        assert [str(problem) for problem in error.problems] == [f"c:2: queues[0]: {expected}"]
    else:
        assert expected is None
        assert queue.interval >= getattr(registry.load(queue.block), "minimum_interval", 0.0)
