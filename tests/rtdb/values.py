"""JSON as the database stores it and as it shows it.

Stored: dictionaries with string keys, no nulls, no empty dictionaries, no arrays. Shown: keys in the
database's order, and dictionaries whose keys look like indices as arrays.
"""

from collections.abc import Mapping
from typing import Any

MAX_KEY_BYTES = 768
MAX_DEPTH = 32
_FORBIDDEN = frozenset(".$#[]/\x7f") | {chr(code) for code in range(32)}
_MAX_INDEX = 2**31


class InvalidData(Exception):
    """What the database refuses to store; the message is the one it answers with."""


def is_index(key: str) -> bool:
    """Whether the database orders `key` as a 32-bit integer."""
    return key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") and int(key) < _MAX_INDEX


def key_order(key: str) -> tuple[int, int, str]:
    """Sorts keys: integers first, ascending, then the others by code point."""
    return (0, int(key), "") if is_index(key) else (1, 0, key)


def value_order(value: Any) -> tuple[int, Any]:
    """Sorts values of a child or `$value` index: null, false, true, numbers, strings, objects."""
    match value:
        case None:
            return (0, 0)
        case bool():
            return (2, 0) if value else (1, 0)
        case int() | float():
            return (3, value)
        case str():
            return (4, value)
    return (5, 0)


def check_key(key: str) -> None:
    """Raises `InvalidData` for a key that the database cannot hold."""
    if not key or not _FORBIDDEN.isdisjoint(key) or len(key.encode()) > MAX_KEY_BYTES:
        raise InvalidData(
            "Invalid data; couldn't parse JSON object. Are you sending a JSON object with valid key names?"
        )


def stored(value: Any, *, now_ms: int, current: Any = None, depth: int = 0) -> Any:
    """`value` as it is kept; None when nothing is left of it.

    `now_ms` replaces `{".sv": "timestamp"}`; `current` is what an increment adds to. Priorities are dropped.
    """
    if depth > MAX_DEPTH:
        raise InvalidData(f"Invalid data; path exceeds the maximum depth of {MAX_DEPTH}.")
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, Mapping):
        return value
    if ".sv" in value:
        return _server_value(value[".sv"], now_ms, current)
    if ".value" in value:
        return value[".value"]
    before = current if isinstance(current, Mapping) else {}
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if key == ".priority":
            continue
        check_key(key)
        child = stored(item, now_ms=now_ms, current=before.get(key), depth=depth + 1)
        if child is not None:
            kept[key] = child
    return kept or None


def _server_value(what: Any, now_ms: int, current: Any) -> Any:
    match what:
        case "timestamp":
            return now_ms
        case {"increment": int() | float() as amount}:
            is_number = isinstance(current, int | float) and not isinstance(current, bool)
            return (current + amount) if is_number else amount
    raise InvalidData("Invalid data; unknown server value.")


def shown(value: Any) -> Any:
    """`value` as the REST API prints it."""
    if not isinstance(value, dict):
        return value
    if all(is_index(key) for key in value):
        highest = max(int(key) for key in value)
        if len(value) > (highest + 1) / 2:  # more than half of the array would be filled
            return [shown(value.get(str(index))) for index in range(highest + 1)]
    return {key: shown(value[key]) for key in sorted(value, key=key_order)}
