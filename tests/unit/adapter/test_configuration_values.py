"""What a good configuration says arrives as typed values, with the documented defaults."""

from pathlib import Path
from textwrap import dedent

import pytest

from ottoscaler.adapter.config.environment import document_from
from ottoscaler.adapter.config.load import from_text
from ottoscaler.adapter.config.model import Config, QueueConfig
from ottoscaler.runtime import document
from ottoscaler.runtime.values import Duration, format_duration
from tests.unit.adapter.fake_backend import FakeSettings


def read(text: str, **environ: str) -> Config:
    return from_text(dedent(text).encode(), name="config.yaml", environ=environ)


def seconds(queue: QueueConfig) -> tuple[float, float, float]:
    return queue.interval, float(queue.options.timeout), float(queue.options.max_age)


def test_defaults_are_those_of_the_documentation() -> None:
    config = read("queues: [{name: jobs, fake: {}}]")
    (queue,) = config.queues
    assert (config.root.api.address, config.root.http.address) == ("0.0.0.0:6443", "0.0.0.0:8080")
    assert (config.root.log.level, config.root.log.format) == ("info", "text")
    assert seconds(queue) == (5.0, 10.0, 300.0)
    assert queue.options.stalled_after is None
    assert queue.options.namespaces is None
    assert queue.options.fallback is None
    assert dict(queue.labels) == {"queue": "jobs", "kind": "fake-queue"}
    assert config.root.metrics == ()


def test_every_option_of_a_queue_is_read() -> None:
    config = read("""
        log: {level: debug, format: json}
        queues:
          - name: jobs
            labels: {team: payments, example.com/tier: gold}
            namespaces: [default, other]
            interval: 500ms
            timeout: 1.5s
            maxAge: 1h5m
            stalledAfter: 2m
            fallback: {after: 2h, replicasHint: 3, jobsPerPod: 4}
            fake: {server: two, stream: "otto:scale:events", pageSize: 3, passwordFile: /run/password}
        metrics:
          - {name: load, combine: max, of: [{queue: jobs, metric: queue_waiting, weight: 0.25}, {queue: jobs}]}
        """)
    (queue,) = config.queues
    assert queue.labels["team"] == "payments"
    assert queue.options.namespaces == ("default", "other")
    assert seconds(queue) == (0.5, 1.5, 3900.0)
    assert queue.options.fallback is not None
    assert queue.options.fallback.after == Duration(7200)
    assert queue.options.fallback.jobs == 12
    assert queue.settings == FakeSettings(
        server="two", stream="otto:scale:events", page_size=3, password_file=Path("/run/password")
    )
    source = queue.for_source()
    assert (source.name, source.interval, source.timeout, source.stalled_after) == ("jobs", 0.5, 1.5, 120)
    (load,) = config.root.metrics
    assert [(part.queue, part.metric, part.weight) for part in load.of] == [
        ("jobs", "queue_waiting", 0.25),
        ("jobs", "queue_demand", 1.0),
    ]


def test_words_are_words_and_only_true_and_false_are_not() -> None:
    tree = document.parse(
        b'[no, on, off, yes, 1:30, 2026-01-01, "5", 5, -1.5, 1e3, true, ~, 0x10, 1_000]', name="x"
    )
    assert tree.plain() == [
        "no", "on", "off", "yes", "1:30", "2026-01-01", "5", 5, -1.5, 1000.0, True, None, "0x10", "1_000",
    ]  # fmt: skip


def test_json_is_read_as_well() -> None:
    assert read('{"queues": [{"name": "jobs", "fake": {"pageSize": 2}}]}').queues[0].settings.page_size == 2


def test_the_log_block_wins_over_its_variables() -> None:
    assert read("queues: []", LOG_LEVEL="WARNING", LOG_FORMAT="json").root.log.level == "warning"
    assert read("{queues: [], log: {}}", LOG_LEVEL="warning").root.log.level == "info"


def test_the_hash_follows_the_content() -> None:
    assert read("queues: []").digest == read("queues: []").digest != read("queues:  []").digest


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5s", 1.5), ("5m", 300), ("1h30m", 5400), ("1h0m5s", 3605), ("0s", 0)],
)
def test_durations_are_spelled_with_their_unit(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5m1h", "-5s", "5 s", "5S", "1.5h", "٣s", "5s\n", "1e3s"])
def test_what_only_looks_like_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.99, "59.99s"),
        (372, "6m12s"),
        (3900, "1h5m0s"),
    ],
)
def test_durations_are_printed_as_kubectl_prints_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_variables_of_existing_installations_stand_for_a_document() -> None:
    firebase = document_from(
        {
            "FIREBASE_DATABASE_URL": "https://example.firebaseio.com",
            "FIREBASE_SERVICE_ACCOUNT_PATH": "/secrets/key.json",
            "AUTO_SCALE_NAMESPACE": "jobs",
            "AUTO_SCALE_DEPLOYMENT_NAME": "eventstorming-generator",
            "LOG_FORMAT": "json",
        }
    )
    assert firebase.plain() == {
        "queues": [
            {
                "name": "eventstorming-generator",
                "namespaces": ["jobs"],
                "firebase": {
                    "databaseURL": "https://example.firebaseio.com",
                    "path": "requestedJobs/eventstorming_generator",
                    "serviceAccountFile": "/secrets/key.json",
                },
            }
        ],
        "log": {"format": "json"},
    }
    plain = document_from({"FIREBASE_DATABASE_URL": "https://example.firebaseio.com"}).plain()
    assert [each["name"] for each in plain["queues"]] == ["eventstorming-generator"]
    assert document_from({"REDIS_HOST": "redis", "REDIS_STREAM": "events"}).plain() == {
        "queues": [
            {
                "name": "scale-events",
                "redis": {"url": "redis://redis:6379/0", "stream": "events", "group": "ottoscaler"},
            }
        ]
    }
    assert document_from({"API_ADDRESS": "127.0.0.1:0"}).plain() == {"api": {"address": "127.0.0.1:0"}}
    assert document_from({}).plain() == {}


def test_variables_of_a_service_named_redis_are_nobodys_settings() -> None:
    link = {"REDIS_PORT": "tcp://10.96.3.1:6379", "REDIS_PORT_6379_TCP": "tcp://10.96.3.1:6379"}
    assert document_from(link).plain() == {}
    firebase = document_from(link | {"FIREBASE_DATABASE_URL": "https://example.firebaseio.com"}).plain()
    assert [sorted(each) for each in firebase["queues"]] == [["firebase", "name", "namespaces"]]
    redis = document_from(link | {"REDIS_HOST": "redis"}).plain()["queues"][0]["redis"]
    assert redis["url"] == "redis://redis:6379/0"
