"""What Prometheus is told of the queues and their configuration, collected when it asks.

Nothing is counted twice: the readings keep their own numbers and this turns them into families with
base units. Labels are the queue's name, kind and one word; no address or backend text is among them.
The names are documented in docs/metrics.md; a test compares the two.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

import ottoscaler
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.runtime.clock import Clock

_QUEUE = ("queue", "kind")
_COSTS = ("document_reads", "received_bytes")
"""What sources count as their price; listed so that the names are known before the first one."""


@dataclass(slots=True)
class ReloadStatus:
    """How the last look at the configuration went."""

    hash: str
    """SHA-256 of the configuration in use, in hexadecimal."""
    applied_at: float
    """Seconds since the epoch."""
    successful: bool = True
    reloads: dict[str, int] = field(default_factory=lambda: {"applied": 0, "refused": 0})
    error: str = ""
    """Why the last one was refused, for people."""


class QueueCollector:
    """The families of all queues."""

    def __init__(self, readings: Readings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        now, monotonic = self._clock.time(), self._clock.monotonic()
        states = list(self._readings)
        yield from self._counts(states, now)
        yield from self._freshness(states, now, monotonic)
        yield from self._reads(states)
        yield from _costs(states)

    def _counts(self, states: list[QueueState], now: float) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("ottoscaler_queue_jobs", "Jobs by state.", labels=(*_QUEUE, "state"))
        oldest = GaugeMetricFamily(
            "ottoscaler_queue_oldest_waiting_seconds", "Age of the oldest waiting job.", labels=_QUEUE
        )
        bound = GaugeMetricFamily(
            "ottoscaler_queue_lower_bound", "1 while counting stopped at a cap.", labels=_QUEUE
        )
        for state in states:
            reading = state.reading
            if reading is None:
                continue
            labels = _labels(state)
            for name, count in reading.counts(now)._asdict().items():
                jobs.add_metric([*labels, name], count)
            jobs.add_metric([*labels, "other"], reading.other)
            bound.add_metric(labels, reading.lower_bound)
            if reading.oldest_waiting_at is not None:
                oldest.add_metric(labels, max(0.0, now - reading.oldest_waiting_at))
        yield from (jobs, oldest, bound)

    def _freshness(self, states: list[QueueState], now: float, monotonic: float) -> Iterator[Metric]:
        gauges = {
            "reading_age_seconds": "Since the newest measurement, or since the queue was added.",
            "max_age_seconds": "The age above which a reading is not served.",
            "fresh": "1 while there is a reading that may be served.",
            "held": "1 while a last-known reading is served because the newest attempt failed.",
            "fallback_active": "1 while the configured fallback is served.",
        }
        families = {
            name: GaugeMetricFamily(f"ottoscaler_queue_{name}", text, labels=_QUEUE)
            for name, text in gauges.items()
        }
        for state in states:
            values = {
                "reading_age_seconds": state.age(now=now, monotonic=monotonic),
                "max_age_seconds": float(state.config.options.max_age),
                "fresh": state.is_fresh(now=now, monotonic=monotonic),
                "held": state.is_held(now=now, monotonic=monotonic),
                "fallback_active": state.is_fallback(now=now, monotonic=monotonic),
            }
            labels = _labels(state)
            for name, value in values.items():
                families[name].add_metric(labels, value)
        yield from families.values()

    def _reads(self, states: list[QueueState]) -> Iterator[Metric]:
        readings = CounterMetricFamily("ottoscaler_queue_readings", "Measurements taken.", labels=_QUEUE)
        duration = SummaryMetricFamily(
            "ottoscaler_queue_read_duration_seconds", "How long polled measurements took.", labels=_QUEUE
        )
        failures = CounterMetricFamily(
            "ottoscaler_queue_read_failures", "Measurements that failed.", labels=(*_QUEUE, "reason")
        )
        for state in states:
            labels = _labels(state)
            readings.add_metric(labels, state.reads)
            if state.timed_reads:
                duration.add_metric(labels, count_value=state.timed_reads, sum_value=state.seconds_reading)
            for reason, count in tuple(state.failures.items()):
                failures.add_metric([*labels, reason], count)
        yield from (readings, duration, failures)


def _costs(states: list[QueueState]) -> Iterator[Metric]:
    for name in sorted({*_COSTS, *(name for state in states for name in state.costs)}):
        family = CounterMetricFamily(f"ottoscaler_queue_{name}", "What reading cost.", labels=_QUEUE)
        for state in states:
            if name in state.costs:
                family.add_metric(_labels(state), state.costs[name])
        yield family


def _labels(state: QueueState) -> tuple[str, str]:
    return state.config.name, state.config.kind


class AdapterCollector:
    """Build, configuration and sources."""

    def __init__(self, reload: ReloadStatus, restarts: Callable[[], Mapping[str, int]]) -> None:
        self._reload = reload
        self._restarts = restarts

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily("ottoscaler_build_info", "Always 1.", labels=("version", "python"))
        build.add_metric([ottoscaler.__version__, platform.python_version()], 1)
        reloads = CounterMetricFamily(
            "ottoscaler_config_reloads", "Changed configurations seen.", labels=("result",)
        )
        for result, count in tuple(self._reload.reloads.items()):
            reloads.add_metric([result], count)
        restarts = CounterMetricFamily(
            "ottoscaler_source_restarts", "Sources that failed as a whole.", labels=("backend",)
        )
        for block, count in self._restarts().items():
            restarts.add_metric([block], count)
        return (
            build,
            GaugeMetricFamily(
                "ottoscaler_config_last_reload_successful",
                "0 while a changed configuration is refused and the old one is kept.",
                value=self._reload.successful,
            ),
            GaugeMetricFamily(
                "ottoscaler_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was applied.",
                value=self._reload.applied_at,
            ),
            GaugeMetricFamily(
                "ottoscaler_config_hash",
                "The first 48 bits of the SHA-256 of the configuration in use.",
                value=int(self._reload.hash[:12], 16),
            ),
            reloads,
            restarts,
        )
