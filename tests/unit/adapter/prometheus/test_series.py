"""Kept labels divide a queue into parts, and what cannot be divided honestly is a failure."""

import json
from typing import Any

import pytest

from ottoscaler.adapter.config.load import ConfigError
from ottoscaler.adapter.sources import registry
from ottoscaler.adapter.sources.base import SeriesRule, SourceError
from ottoscaler.adapter.sources.prometheus import BACKEND
from ottoscaler.adapter.sources.prometheus_answer import Samples, parse
from ottoscaler.adapter.sources.prometheus_series import reading_of
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from tests.unit.adapter.making import config

KEEP = ("shard", "region")


def samples(*found: tuple[dict[str, str], float]) -> Samples:
    vector = [{"metric": labels, "value": [1.5, str(value)]} for labels, value in found]
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": vector}}).encode()
    return parse(200, body, what="waiting", keep=KEEP)


def settings(**more: Any) -> PrometheusSettings:
    return PrometheusSettings(url="http://prometheus:9090", waiting="x", keep_labels=KEEP, **more)


def refused(found: dict[str, Samples], **more: Any) -> SourceError:
    with pytest.raises(SourceError) as raised:
        reading_of("q", found, settings(**more), 100.0)
    return raised.value


A, B = {"shard": "a", "pod": "1"}, {"shard": "b", "region": "eu"}


def test_samples_with_the_same_kept_labels_are_one_part() -> None:
    reading = reading_of(
        "q", {"waiting": samples((A, 1.2), ({**A, "pod": "2"}, 2), (B, 5))}, settings(), 100.0
    )
    assert [(part.labels, part.waiting) for part in reading.series] == [
        ({"shard": "a"}, 4),
        ({"shard": "b", "region": "eu"}, 5),
    ]
    assert reading.waiting == 9


def test_every_query_has_its_share_in_a_part() -> None:
    found = {
        "waiting": samples((A, 1), (B, 0)),
        "processing": samples((A, 2), (B, 3)),
        "oldestWaitingSeconds": samples((A, 7), (A, 9)),
    }
    one, other = reading_of("q", found, settings(), 100.0).series
    assert (one.waiting, one.processing, one.oldest_waiting_at) == (1, 2, 91.0)
    assert (other.waiting, other.processing, other.oldest_waiting_at) == (0, 3, None)


def test_a_part_that_one_query_lacks_is_a_failure_unless_that_means_no_jobs() -> None:
    found = {"waiting": samples((A, 1), (B, 2)), "processing": samples((A, 2))}
    assert str(refused(found)) == "its processing query finds no series with shard=b, region=eu"
    assert refused(found).code == "missing"
    reading = reading_of("q", found, settings(missing="empty"), 100.0)
    assert [part.processing for part in reading.series] == [2, 0]


def test_more_parts_than_were_foreseen_are_a_failure() -> None:
    many = {"waiting": samples(*[({"shard": str(number)}, 1) for number in range(3)])}
    assert "3 label sets, more than maxSeries 2" in str(refused(many, max_series=2))
    assert len(reading_of("q", many, settings(max_series=3), 100.0).series) == 3


def test_labels_without_a_value_are_none_as_in_prometheus() -> None:
    (part,) = reading_of("q", {"waiting": samples(({"shard": ""}, 1), ({}, 2))}, settings(), 100.0).series
    assert (part.labels, part.waiting) == ({}, 3)


@pytest.mark.parametrize("value", ["a/b", "-a", "x" * 64, "ü", "a\nb"])
def test_a_value_that_nobody_can_select_is_a_failure(value: str) -> None:
    with pytest.raises(SourceError, match="label shard that Kubernetes cannot select by") as raised:
        samples(({"shard": value}, 1))
    assert raised.value.code == "invalid"
    assert value not in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (("queue",), "queue is set by the adapter"),
        (("kind",), "kind is set by the adapter"),
        (("fallback",), "fallback is set by the adapter"),
        (("__name__",), "no label of Prometheus that Kubernetes can select by"),
        (("a.b",), "no label of Prometheus"),
        (("a", "a"), "names a label twice"),
        (("x" * 64,), "no label"),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(labels: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PrometheusSettings(url="http://prometheus:9090", waiting="x", keep_labels=labels)


def test_a_kept_label_that_the_queue_sets_itself_is_refused_with_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "load", {"prometheus": BACKEND}.get)
    text = """
queues:
  - name: jobs
    labels: {shard: a}
    prometheus: {url: "http://prometheus:9090", waiting: x, keepLabels: [shard]}
"""
    with pytest.raises(ConfigError, match=r"config.yaml:4.*labels\.shard is a label of its series as well"):
        config(text)
    rule = config(text.replace("labels: {shard: a}", "labels: {team: a}")).queues[0].series
    assert rule == SeriesRule(labels=frozenset({"shard"}), absent="error")
