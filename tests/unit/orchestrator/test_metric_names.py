"""The table in docs/orchestrator-metrics.md is what the process exports, name by name."""

import re
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from ottoscaler.orchestrator.pages import Status, WorkerCollector
from ottoscaler.orchestrator.telemetry import Telemetry

TABLE = Path(__file__).parents[3] / "docs" / "orchestrator-metrics.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\| (?P<meaning>[^|]+) \|")
LABEL = re.compile(r"`(\w+)`")


class Exported(NamedTuple):
    """One metric as Prometheus sees it."""

    type: str
    labels: frozenset[str]


def documented() -> dict[str, Exported]:
    rows = [ROW.fullmatch(line) for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    assert all(rows), "a row is not of the table's form"
    return {
        row["name"]: Exported(row["type"], frozenset(LABEL.findall(row["labels"]))) for row in rows if row
    }


def exported() -> dict[str, Exported]:
    found: dict[str, Exported] = {}
    own = [each for each in vars(Telemetry()).values() if isinstance(each, MetricWrapperBase)]
    for metric in own:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = Exported(family.type, frozenset(metric._labelnames))
    status = Status(
        identity="", leading=False, leader="", leaving=False, synced=True, workers=(), events=None, redis=None,
        handler=None, runs=0,
    )  # fmt: skip
    for family in WorkerCollector(lambda: status).collect():
        labels = frozenset(key for sample in family.samples for key in sample.labels)
        found[family.name] = Exported(family.type, labels)
    return found


def test_the_table_has_every_metric_and_no_other() -> None:
    assert documented() == exported()


def test_names_say_their_unit() -> None:
    for name, metric in exported().items():
        assert name.startswith("otto_")
        if metric.type == "histogram":
            assert name.endswith("_seconds")
        assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mib|percent)(_|$)", name)
