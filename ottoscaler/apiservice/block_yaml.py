"""API objects as YAML, for people.

A few lines instead of PyYAML's emitter, which takes seconds for ten thousand values and would hold up
every other caller meanwhile. Strings are plain where no YAML reader could mistake them, else double-quoted
as JSON writes them, which is YAML, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

_quoted = msgspec.json.Encoder().encode

_is_plain = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*", re.ASCII).fullmatch
_escape = re.compile(
    r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
).sub
"""What YAML has no room for between quotes, or would read as a line break."""
_LONGEST_KEY = 1000
"""Characters, as written: a reader need not look further than 1024 for the colon of a key that is not announced."""
_MISTAKABLE = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"])


def to_yaml(content: Mapping[str, Any]) -> bytes:
    """`content` (JSON types, no floats) in block style, keys sorted as Kubernetes sorts them."""
    return "".join(_mapping(content, "")).encode()


def _mapping(content: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key in sorted(content):
        value, name = content[key], _scalar(key)
        yield f"{indent}{name}:" if len(name) <= _LONGEST_KEY else f"{indent}? {name}\n{indent}:"
        if isinstance(value, Mapping) and value:
            yield "\n"
            yield from _mapping(value, f"{indent}  ")
        elif isinstance(value, list | tuple) and value:
            yield "\n"
            yield from _sequence(value, indent)
        else:
            yield f" {_scalar(value)}\n"


def _sequence(content: Sequence[Any], indent: str) -> Iterator[str]:
    for value in content:
        if isinstance(value, Mapping) and value:
            lines = "".join(_mapping(value, f"{indent}  "))
            yield f"{indent}- {lines[len(indent) + 2 :]}"
        else:
            yield f"{indent}- {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _is_plain(value) and value.lower() not in _MISTAKABLE:
        return value
    return _escape(lambda odd: f"\\u{ord(odd[0]):04x}", _quoted(value).decode())
