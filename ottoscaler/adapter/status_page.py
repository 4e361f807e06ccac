"""Every queue on one page, for people: what is counted, how old it is, and what is wrong.

Imported by the first request for it, since few adapters are ever asked.
"""

from collections.abc import Sequence
from html import escape

import ottoscaler
from ottoscaler.adapter.evaluation import Moment, format_time
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.status import QueueStatus, queue_status
from ottoscaler.adapter.telemetry import ReloadStatus
from ottoscaler.runtime.values import format_duration

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
