"""Times as the Kubernetes API and the wire contract write them: RFC 3339, UTC."""

import time
from datetime import UTC, datetime


def format_time(seconds: float | None) -> str:
    """`2026-11-21T10:15:30.250Z`; whole seconds without a fraction; empty for None."""
    if seconds is None:
        return ""
    millis = round(seconds * 1000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000))
    return f"{text}.{millis % 1000:03d}Z" if millis % 1000 else f"{text}Z"


def parse_time(text: str | None) -> float | None:
    """Seconds since the epoch; None for nothing, or for what is no time."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
