"""The `Date` header, formatted once a second."""

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_second = 0
_line = b""


def date_line() -> bytes:
    """`Date: …` with its line end (RFC 9110 section 5.6.7)."""
    global _second, _line
    now = int(time.time())
    if now != _second:
        _second, _line = now, f"Date: {http_date(now)}\r\n".encode()
    return _line


def http_date(seconds: float) -> str:
    """Seconds since the epoch as IMF-fixdate, whatever the locale."""
    at = time.gmtime(seconds)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )
