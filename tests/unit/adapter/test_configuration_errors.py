"""A wrong configuration is refused with the path and the line of everything that is wrong in it."""

from pathlib import Path
from textwrap import dedent

import pytest

from ottoscaler.adapter.config.load import ConfigError, from_environment, from_text, load
from ottoscaler.adapter.config.model import QUEUE_METRICS


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_text(dedent(text).lstrip("\n").encode(), name="config.yaml", environ={})
    return [str(problem) for problem in caught.value.problems]


def queue_problem(line: str) -> str:
    """The only problem of a queue that has `line` besides a name and a backend."""
    (problem,) = problems(f"queues:\n- name: jobs\n  fake: {{}}\n  {line}\n")
    assert problem.startswith("config.yaml:")
    return problem.removeprefix("config.yaml:")


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() -> None:
    assert problems("""
        queues:
          - name: jobs
            fake: {stream: jobs}
          - name: events
            fake:
              server: two
              strem: events
        """) == ['config.yaml:7: queues[1].fake.strem: unknown key, did you mean "stream"?']


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    assert problems("""
        http: {address: "0.0.0.0"}
        queues:
          - name: 12
            max_age: 5m
            fake: {pageSize: many, minIdle: 30}
          - fake: {}
          - name: none
          - name: two
            fake: {pageSize: 100000}
            twin: 3
          - name: two
            fake: {}
        metrics:
          - {name: queue_demand, of: []}
        logs: {}
        """) == [
        "config.yaml:1: http.address: '0.0.0.0' is not host:port with a port up to 65535",
        "config.yaml:3: queues[0].name: expected a string, got the number 12 (quote it)",
        'config.yaml:4: queues[0].max_age: unknown key, did you mean "maxAge"?',
        "config.yaml:5: queues[0].fake.pageSize: expected a whole number, got a string",
        "config.yaml:5: queues[0].fake.minIdle: expected a duration such as 30s, 5m or 1h30m, got 30",
        "config.yaml:6: queues[1]: name is missing",
        "config.yaml:7: queues[2]: has no backend: add one of fake, twin",
        "config.yaml:9: queues[3].fake.pageSize: is above 1000",
        "config.yaml:10: queues[3]: has fake and twin: a queue has one backend",
        "config.yaml:10: queues[3].twin: expected a mapping, got the number 3",
        'config.yaml:11: queues[4]: a queue named "two" exists already (config.yaml:8)',
        "config.yaml:14: metrics[0].of: is empty",
        'config.yaml:15: logs: unknown key, did you mean "log"?',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "config.yaml: is empty: write at least `queues:`"),
        ("queues", "config.yaml:1: expected a mapping, got a string"),
        ("http: {}", "config.yaml:1: queues is missing"),
        ("queues: 3", "config.yaml:1: queues: expected a list of queues"),
        ("queues:\n- 3", "config.yaml:2: queues[0]: expected a mapping, got the number 3"),
        ("queues: [\n", "config.yaml:2: not YAML: did not find expected node content"),
        ("a: &x 1\nqueues: *x", "config.yaml:1: anchors and aliases are not part of this format: write the value out"),
        ("queues: !!python/name:os.system []", "config.yaml:1: tags such as tag:yaml.org,2002:python/name:os.system are not part of this format"),
        ("queues: []\n---\nqueues: []", "config.yaml:2: more than one document (`---`): write one"),
        ("[" * 200, "config.yaml:1: nested deeper than 32 levels"),
        ("? [a]\n: b", "config.yaml:1: a key must be a word"),
        ("queues: []\nqueues: []", "config.yaml:2: queues: given twice (first in line 1)"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_says_why(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("maxAge: 10", "4: queues[0].maxAge: expected a duration such as 30s, 5m or 1h30m, got 10"),
        ("maxAge: 500ms", "4: queues[0].maxAge: is shorter than 1s"),
        ("maxAge: 9999h", "4: queues[0].maxAge: 9999h is longer than a year"),
        ("maxAge: 4s", "4: queues[0]: maxAge 4s must be longer than the interval, 5s by default for fake"),
        ("interval: 10m", "4: queues[0].interval: 10m0s is not shorter than maxAge 5m0s: every reading would be too old before the next"),
        ("interval: 20ms", "4: queues[0].interval: is shorter than 100ms"),
        ("timeout: 0", "4: queues[0].timeout: is shorter than 50ms"),
        ("stalledAfter: 0s", "4: queues[0].stalledAfter: is shorter than 1s"),
        ("labels: {queue: x}", "4: queues[0]: labels.queue is set by the adapter: choose another key"),
        ("labels: {a b: x}", "4: queues[0].labels: 'a b' is no Kubernetes label key"),
        ("labels: {a: x y}", "4: queues[0]: labels.a: 'x y' is no Kubernetes label value"),
        ("labels: {a: 1}", "4: queues[0].labels.a: expected a string, got the number 1 (quote it)"),
        ("labels: {a: x, a: y}", "4: queues[0].labels.a: given twice"),
        ("namespaces: []", "4: queues[0].namespaces: is empty, so nobody could see it; leave it out to show it to all"),
        ("namespaces: [A]", "4: queues[0].namespaces: 'A' is no name of a namespace"),
        ("namespaces: default", "4: queues[0].namespaces: expected a list or nothing, got a string"),
        ("fallback: {after: 1h}", "4: queues[0].fallback: give either value or replicasHint"),
        ("fallback: {after: 1h, value: -1}", "4: queues[0].fallback.value: expected a whole number >= 0"),
        ("fallback: {after: 1m, value: 3}", "4: queues[0].fallback: after 1m0s is shorter than maxAge 5m0s: it would replace readings that are still good"),
    ],
)  # fmt: skip
def test_each_option_of_a_queue_is_judged_where_it_stands(line: str, expected: str) -> None:
    assert queue_problem(line) == expected


def test_a_derived_metric_names_queues_that_exist() -> None:
    assert problems("""
        queues:
          - {name: generator, fake: {}}
        metrics:
          - name: load
            of:
              - {queue: generatr}
              - {queue: generator, metric: waiting}
          - {name: queue_demand, of: [{queue: generator}]}
          - {name: Load, of: [{queue: generator, weight: -1}]}
        """) == [
        f"config.yaml:7: metrics[0].of[1].metric: expected one of {', '.join(QUEUE_METRICS)}, got 'waiting'",
        "config.yaml:8: metrics[1].name: queue_demand is a metric of every queue: choose another",
        "config.yaml:9: metrics[2].of[0].weight: expected a number >= 0.0",
    ]
    assert problems("""
        queues:
          - {name: generator, fake: {}}
        metrics:
          - {name: load, of: [{queue: generatr}]}
          - {name: load, of: [{queue: generator}]}
        """) == [
        'config.yaml:4: metrics[0].of[0].queue: no queue "generatr", did you mean "generator"?',
        'config.yaml:5: metrics[1]: a metric named "load" exists already',
    ]


def test_a_wrong_variable_is_named_instead_of_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment({"FIREBASE_DATABASE_URL": "", "LOG_LEVEL": "loud"})
    assert str(caught.value) == (
        "environment: no queue: give --config FILE, or set FIREBASE_DATABASE_URL, REDIS_HOST or REDIS_STREAM"
    )
    with pytest.raises(ConfigError, match=r"^LOG_LEVEL: log\.level: expected one of debug, info"):
        from_text(b"queues: []", name="config.yaml", environ={"LOG_LEVEL": "loud"})


def test_a_file_that_cannot_be_read_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path("/does/not/exist.yaml"), {})
    assert str(caught.value) == "/does/not/exist.yaml: cannot be read: No such file or directory"
