"""The API's time formats: seconds in statuses, microseconds in leases."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def seconds(moment: datetime | float | None = None) -> str:
    """`metav1.Time`, of a moment or of seconds since the epoch; now when there is none."""
    if isinstance(moment, float):
        moment = datetime.fromtimestamp(moment, UTC)
    return (moment or now()).strftime("%Y-%m-%dT%H:%M:%SZ")


def microseconds(moment: datetime | None = None) -> str:
    """`metav1.MicroTime`."""
    return (moment or now()).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> datetime:
    """Either format. Raises `ValueError`."""
    return datetime.fromisoformat(text)
