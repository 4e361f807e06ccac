"""Whatever stands in the file, the answer is a configuration or a list of problems."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ottoscaler.adapter.config.load import ConfigError, from_text

WORDS = st.sampled_from(
    [
        "api", "http", "log", "queues", "metrics", "address", "name", "labels", "namespaces", "interval",
        "timeout", "maxAge", "stalledAfter", "fallback", "after", "value", "replicasHint", "fake", "twin", "of",
        "queue", "metric", "weight", "combine", "server", "pageSize", "passwordFile", "minIdle", "certificate",
        "files", "secret", "level", "format", "5m", "30s", "0.0.0.0:80", "sum", "max", "jobs", "queue_demand", "",
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)
QUEUES = st.fixed_dictionaries({"name": SCALARS, "fake": TREES}) | st.dictionaries(WORDS, TREES, max_size=6)
DOCUMENTS = st.fixed_dictionaries(
    {"queues": st.lists(QUEUES, max_size=3)},
    optional={"metrics": TREES, "api": TREES, "http": TREES, "log": TREES},
)


def judge(content: bytes) -> None:
    try:
        config = from_text(content, name="config.yaml", environ={})
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.place.startswith("config.yaml")
            assert "\n" not in str(problem)
            assert "`" not in problem.message or "queues:" in problem.message or "---" in problem.message
    else:
        assert len({queue.name for queue in config.queues}) == len(config.queues)


@given(DOCUMENTS)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_of_documents_that_are_nearly_right(document: Any) -> None:
    judge(json.dumps(document).encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
@settings(max_examples=400)
def test_of_arbitrary_bytes(content: bytes) -> None:
    judge(content)


@given(st.text(alphabet="{}[]:,-? \n\t#&*!|>'\"%@`aq0.~", max_size=80))
@settings(max_examples=600)
def test_of_yaml_punctuation(text: str) -> None:
    judge(text.encode())
