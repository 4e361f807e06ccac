"""What Prometheus is told of the queues, written while the API goes on answering.

Ten thousand queues are 140,000 lines. prometheus_client takes a second for them, in which every request
would wait; here a line is one format, and the event loop has its turn after each few hundred
(docs/decisions/0040). Labels are the queue's name, kind and one word; no address or backend text is among
them. The names are documented in docs/metrics.md; a test compares the two.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.runtime.clock import Clock

_TURN = 200
"""Queues between two turns of the event loop: about a millisecond."""
_COST_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_COUNTED = {
    "document_reads": "Documents that were paid for.",
    "received_bytes": "Bytes received to measure the queue.",
    "server_changes": "Times that another server answered for the queue than before.",
    "token_refusals": "Times that a token was refused and another asked for.",
}
"""What sources count; listed so that the names are known before the first one."""

Sample = tuple[str, str, float]
"""A suffix of the family's name, further labels (`,state="waiting"`), and the value."""


class Family(NamedTuple):
    """One metric of all queues."""

    name: str
    type: str
    help: str
    samples: Callable[[QueueState, Moment], Iterable[Sample]]


async def expose(readings: Readings, clock: Clock) -> bytes:
    """All families of all queues in Prometheus's text format 0.0.4."""
    at = Moment(clock.time(), clock.monotonic())
    states = [(state, _labels(state)) for state in readings]
    lines: list[str] = []
    for family in (*_FAMILIES, *_costs(states)):
        lines.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n")
        remaining = iter(states)
        while turn := list(islice(remaining, _TURN)):
            for state, labels in turn:
                for suffix, further, value in family.samples(state, at):
                    lines.append(f"{family.name}{suffix}{{{labels}{further}}} {value!r}\n")
            await asyncio.sleep(0)
    return "".join(lines).encode()


def _labels(state: QueueState) -> str:
    kind = state.config.kind.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'queue="{state.config.name}",kind="{kind}"'


def _jobs(state: QueueState, at: Moment) -> Iterator[Sample]:
    if state.reading is None:
        return
    counts, uncounted = state.reading.counts(at.wall), state.config.uncounted
    yield "", ',state="waiting"', counts.waiting
    if "processing" not in uncounted:
        yield "", ',state="processing"', counts.processing
    if "stalled" not in uncounted:
        yield "", ',state="stalled"', counts.stalled
    if "failed" not in uncounted:
        yield "", ',state="failed"', counts.failed
    if "other" not in uncounted:
        yield "", ',state="other"', state.reading.other


def _oldest(state: QueueState, at: Moment) -> Iterator[Sample]:
    if state.reading is not None and state.reading.oldest_waiting_at is not None:
        yield "", "", max(0.0, at.wall - state.reading.oldest_waiting_at)


def _lower_bound(state: QueueState, _at: Moment) -> Iterator[Sample]:
    if state.reading is not None:
        yield "", "", int(state.reading.lower_bound)


def _age(state: QueueState, at: Moment) -> Iterator[Sample]:
    yield "", "", state.age(now=at.wall, monotonic=at.monotonic)


def _max_age(state: QueueState, _at: Moment) -> Iterator[Sample]:
    yield "", "", float(state.config.options.max_age)


def _fresh(state: QueueState, at: Moment) -> Iterator[Sample]:
    yield "", "", int(state.is_fresh(now=at.wall, monotonic=at.monotonic))


def _held(state: QueueState, at: Moment) -> Iterator[Sample]:
    yield "", "", int(state.is_held(now=at.wall, monotonic=at.monotonic))


def _fallback(state: QueueState, at: Moment) -> Iterator[Sample]:
    yield "", "", int(state.is_fallback(now=at.wall, monotonic=at.monotonic))


def _readings(state: QueueState, _at: Moment) -> Iterator[Sample]:
    yield "", "", state.reads


def _durations(state: QueueState, _at: Moment) -> Iterator[Sample]:
    if state.timed_reads:
        yield "_count", "", state.timed_reads
        yield "_sum", "", state.seconds_reading


def _failures(state: QueueState, _at: Moment) -> Iterator[Sample]:
    for reason, count in state.failures.items():
        yield "", f',reason="{reason}"', count


def _costs(states: Iterable[tuple[QueueState, str]]) -> list[Family]:
    """A family for each thing that a source counts, the well-known ones always."""
    counted = {name for state, _ in states for name in state.costs if _COST_NAME.fullmatch(name)}

    def family(name: str) -> Family:
        def samples(state: QueueState, _at: Moment) -> Iterator[Sample]:
            if name in state.costs:
                yield "", "", state.costs[name]

        about = _COUNTED.get(name, "Counted by the queue's source.")
        return Family(f"ottoscaler_queue_{name}_total", "counter", about, samples)

    return [family(name) for name in sorted(counted.union(_COUNTED))]


_FAMILIES = (
    Family("ottoscaler_queue_jobs", "gauge", "Jobs by state.", _jobs),
    Family("ottoscaler_queue_oldest_waiting_seconds", "gauge", "Age of the oldest waiting job.", _oldest),
    Family("ottoscaler_queue_lower_bound", "gauge", "1 while counting stopped at a cap.", _lower_bound),
    Family(
        "ottoscaler_queue_reading_age_seconds",
        "gauge",
        "Since the newest measurement, or since the queue was configured.",
        _age,
    ),
    Family(
        "ottoscaler_queue_max_age_seconds", "gauge", "The age above which a reading is not served.", _max_age
    ),
    Family("ottoscaler_queue_fresh", "gauge", "1 while there is a reading that may be served.", _fresh),
    Family(
        "ottoscaler_queue_held",
        "gauge",
        "1 while a last-known reading is served because the newest attempt failed.",
        _held,
    ),
    Family(
        "ottoscaler_queue_fallback_active", "gauge", "1 while the configured fallback is served.", _fallback
    ),
    Family("ottoscaler_queue_readings_total", "counter", "Measurements taken.", _readings),
    Family(
        "ottoscaler_queue_read_duration_seconds",
        "summary",
        "How long polled measurements took.",
        _durations,
    ),
    Family("ottoscaler_queue_read_failures_total", "counter", "Measurements that failed.", _failures),
)
