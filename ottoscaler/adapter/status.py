"""Every queue on one page, for people: what is counted, how old it is, and what is wrong.

The same facts as JSON for scripts, and `/metrics/waiting-jobs` for those who asked the scaler that ran
inside the generator: one total, or an error; never a number that was not measured.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import msgspec

import ottoscaler
from ottoscaler.adapter.evaluation import Moment, Unknown, evaluate, format_time
from ottoscaler.adapter.readings import QueueState, Readings
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.runtime.values import format_duration


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One queue as JSON."""

    queue: str
    kind: str
    state: str
    """fresh, held, fallback or unavailable."""
    waiting: int | None = None
    processing: int | None = None
    stalled: int | None = None
    failed: int | None = None
    other: int | None = None
    demand: int | None = None
    lower_bound: bool = False
    oldest_waiting_seconds: float | None = None
    measured_at: str | None = None
    age_seconds: float | None = None
    error: str | None = None
    """Why the newest attempt failed."""


class JsonAnswer(NamedTuple):
    """A body and its HTTP status."""

    status: int
    body: dict[str, Any]


def queue_status(state: QueueState, at: Moment) -> QueueStatus:
    """The queue as it is served at that moment; counts are the newest that were measured, however old."""
    shown = QueueStatus(
        queue=state.config.name,
        kind=state.config.kind,
        state=_state(state, at),
        error=state.failure.reason if state.failure else None,
    )
    reading = state.reading
    if reading is None:
        return shown
    counts = reading.counts(at.wall)
    oldest = reading.oldest_waiting_at
    return msgspec.structs.replace(
        shown,
        **counts._asdict(),
        other=reading.other,
        demand=counts.demand,
        lower_bound=reading.lower_bound,
        oldest_waiting_seconds=None if oldest is None else round(max(0.0, at.wall - oldest), 1),
        measured_at=format_time(reading.measured_at),
        age_seconds=round(state.age(now=at.wall, monotonic=at.monotonic), 1),
    )


def _state(state: QueueState, at: Moment) -> str:
    if state.is_held(now=at.wall, monotonic=at.monotonic):
        return "held"
    if state.is_fresh(now=at.wall, monotonic=at.monotonic):
        return "fresh"
    return "fallback" if state.is_fallback(now=at.wall, monotonic=at.monotonic) else "unavailable"


def waiting_jobs(readings: Readings, queue: str | None, at: Moment) -> JsonAnswer:
    """The answer of `/metrics/waiting-jobs`, of one queue or of all."""
    states = [state for state in readings if queue in {None, state.config.name}]
    if not states:
        return JsonAnswer(404, {"error": f"no queue {queue!r}" if queue else "no queue is configured"})
    shares = [evaluate(state, "queue_waiting", at) for state in states]
    sentences = [share.sentence for share in shares if isinstance(share, Unknown)]
    if sentences:
        return JsonAnswer(503, {"error": "; ".join(sentences)})
    total = sum(share.value_milli for share in shares if not isinstance(share, Unknown)) // 1000
    queues = [msgspec.to_builtins(queue_status(state, at)) for state in states]
    return JsonAnswer(200, {"waitingJobs": total, "timestamp": format_time(at.wall), "queues": queues})


def status_json(readings: Readings, reload: ReloadStatus, at: Moment) -> dict[str, Any]:
    """Everything on the page."""
    return {
        "version": ottoscaler.__version__,
        "time": format_time(at.wall),
        "configuration": {
            "hash": reload.hash[:12],
            "appliedAt": format_time(reload.applied_at),
            "lastReloadSuccessful": reload.successful,
            **({"error": reload.error} if reload.error else {}),
        },
        "queues": [msgspec.to_builtins(queue_status(state, at)) for state in readings],
    }


_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
h1{font-size:1.3rem;margin:0}p{margin:.3rem 0 1rem;opacity:.75}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
th{font-weight:600;font-size:.85rem;opacity:.75}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.s{border-radius:1rem;padding:.05rem .6rem;font-size:.85rem;white-space:nowrap}
.fresh{background:#2a82;color:#173}.held{background:#fa03;color:#850}
.fallback{background:#48f3;color:#24a}.unavailable{background:#e333;color:#a11}
@media(prefers-color-scheme:dark){.fresh{color:#7d9}.held{color:#fc6}.fallback{color:#9bf}.unavailable{color:#f99}}
.bad{border-left:4px solid #e33;padding-left:.8rem;opacity:1;white-space:pre-wrap}
"""
_COLUMNS = ("waiting", "processing", "stalled", "failed")


def status_page(readings: Readings, reload: ReloadStatus, at: Moment) -> str:
    """The page; it reads itself again every five seconds."""
    rows = [queue_status(state, at) for state in readings]
    wrong = [row for row in rows if row.state != "fresh"]
    summary = f"{len(rows)} queues, {len(wrong)} of them not fresh" if rows else "no queue is configured"
    refused = (
        f'<p class="bad">A changed configuration was refused, the old one is in use:\n{escape(reload.error)}</p>'
        if not reload.successful
        else ""
    )
    heads = "".join(f'<th class="n">{name}</th>' for name in _COLUMNS)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width"><title>Ottoscaler</title>'
        f"<style>{_STYLE}</style></head><body><h1>Ottoscaler {ottoscaler.__version__}</h1>"
        f"<p>{summary} · {format_time(at.wall)} · configuration {reload.hash[:12]} of "
        f"{format_time(reload.applied_at)}</p>{refused}"
        f"<table><thead><tr><th>queue</th><th>kind</th><th>state</th>{heads}"
        '<th class="n">oldest</th><th class="n">age</th><th>last error</th></tr></thead>'
        f"<tbody>{''.join(_rows(rows))}</tbody></table></body></html>"
    )


def _rows(rows: Sequence[QueueStatus]) -> list[str]:
    return [
        f"<tr><td>{escape(row.queue)}</td><td>{escape(row.kind)}</td>"
        f'<td><span class="s {row.state}">{row.state}</span></td>'
        + "".join(f'<td class="n">{_count(row, name)}</td>' for name in _COLUMNS)
        + f'<td class="n">{_span(row.oldest_waiting_seconds)}</td><td class="n">{_span(row.age_seconds)}</td>'
        f"<td>{escape(row.error or '')}</td></tr>"
        for row in rows
    ]


def _count(row: QueueStatus, name: str) -> str:
    count = getattr(row, name)
    if count is None:
        return "?"
    return f"≥ {count}" if row.lower_bound else str(count)


def _span(seconds: float | None) -> str:
    return "" if seconds is None else format_duration(int(seconds))
