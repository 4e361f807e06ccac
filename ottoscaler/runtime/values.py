"""Values that YAML has no type for: durations, and files.

Configuration structs, those of the backends included, use these as field types. A value carries the
unit in its spelling (`30s`), so no key needs one in its name and nobody reads minutes as seconds.
"""

import re
from pathlib import Path
from typing import Any

_DURATION = re.compile(
    r"(?:(?P<h>[0-9]+)h)?(?:(?P<m>[0-9]+)m)?(?:(?P<s>[0-9]+(?:\.[0-9]+)?)s)?(?:(?P<ms>[0-9]+)ms)?"
)
_LONGEST = 366 * 86400.0
_EXPECTED = "expected a duration such as 30s, 5m or 1h30m"
DURATION_PATTERN = r"^([0-9]+h)?([0-9]+m)?([0-9]+(\.[0-9]+)?s)?([0-9]+ms)?$"


class Duration(float):
    """Seconds, spelled `500ms`, `30s`, `5m`, `1h30m` in configuration; a plain `0` is allowed."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Raises `ValueError` when `text` is no duration or is longer than a year."""
        match = _DURATION.fullmatch(text)
        if match is None or not any(match.groups()):
            raise ValueError(f"{_EXPECTED}, got {text[:40]!r}")
        hours, minutes, seconds, millis = (float(part or 0) for part in match.group("h", "m", "s", "ms"))
        total = hours * 3600 + minutes * 60 + seconds + millis / 1000
        if total > _LONGEST:
            raise ValueError(f"{text[:40]} is longer than a year")
        return cls(total)

    def __str__(self) -> str:
        return format_duration(self)


def format_duration(seconds: float) -> str:
    """How Go and kubectl print one: `0s`, `250ms`, `12s`, `6m12s`, `5m0s`, `1h5m0s`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 1:
        millis = round(seconds * 1000)
        return f"{millis}ms" if millis else "0s"
    whole = int(seconds) if seconds >= 60 else seconds
    if whole < 60:
        return f"{int(whole)}s" if whole == int(whole) else f"{whole:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(int(whole), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def decode_value(kind: type, value: Any) -> Any:
    """The `dec_hook` of msgspec for configuration. Raises `ValueError` in words for people."""
    if kind is Duration:
        if isinstance(value, str):
            return Duration.parse(value)
        if value == 0 and type(value) is int:
            return Duration(0)
        raise ValueError(f"{_EXPECTED}, got {value!r}")
    if kind is Path:
        if isinstance(value, str) and value and "\0" not in value:
            return Path(value)
        raise ValueError(f"expected the path of a file, got {value!r}")
    raise TypeError(f"no spelling of {kind.__name__} is known")
