"""What Prometheus is told of the process and its configuration, collected when it asks.

The names are documented in docs/metrics.md; a test compares the two.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

import ottoscaler
from ottoscaler.runtime.clock import Clock


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


class AdapterCollector:
    """Build, configuration and sources."""

    def __init__(
        self, reload: ReloadStatus, restarts: Callable[[], Mapping[str, int]], *, clock: Clock
    ) -> None:
        self._reload = reload
        self._restarts = restarts
        self._clock = clock
        self._epoch = clock.time() - clock.monotonic()

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
            GaugeMetricFamily(
                "ottoscaler_wall_clock_shift_seconds",
                "How far the wall clock has moved against the monotonic one since the start.",
                value=self._clock.time() - self._clock.monotonic() - self._epoch,
            ),
            reloads,
            restarts,
        )
