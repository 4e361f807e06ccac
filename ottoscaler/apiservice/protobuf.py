"""Kubernetes objects as protobuf, made from their JSON form.

Documents are built once, as the dictionaries that JSON shows; a table for each message
(ottoscaler/apiservice/messages.py) says which field has which number, so the two encodings cannot come
to disagree. The bytes equal those of the API machinery's generated code: fields in ascending order,
scalars written even when they are empty unless they are optional, map entries sorted by key.

Wire format: https://protobuf.dev/programming-guides/encoding/; envelope:
k8s.io/apimachinery/pkg/runtime/serializer/protobuf.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

_MAGIC = b"k8s\x00"
_VARINT, _BYTES = 0, 2

Encoder = Callable[[Any], bytes]
"""A value's bytes without its tag; with its length for kinds that carry one."""


class Kind(NamedTuple):
    """How a value is written."""

    wire: int
    encode: Encoder
    empty: Any
    """What an absent field that is not optional is written as; None: not at all."""


class Field(NamedTuple):
    """One field of a message."""

    number: int
    name: str
    """The key in the JSON form."""
    kind: Kind
    repeated: bool = False
    optional: bool = False
    """Written only when it is there (a pointer in Go); other fields are written when empty, too."""


class _Prepared(NamedTuple):
    """A field with everything worked out that does not depend on the value."""

    name: str
    tag: bytes
    encode: Encoder
    repeated: bool
    absent: bytes
    """What is written when there is no value."""


Message = tuple[_Prepared, ...]


def varint(value: int) -> bytes:
    """Base-128, least significant group first; negative numbers as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes((value,)) for value in range(0x80)]


def delimited(content: bytes) -> bytes:
    """`content` after its length."""
    return varint(len(content)) + content


def message(*fields: Field) -> Message:
    """A message of these fields, which are written by ascending number."""
    return tuple(map(_prepare, sorted(fields, key=lambda field: field.number)))


def _prepare(field: Field) -> _Prepared:
    kind = field.kind
    tag = varint(field.number << 3 | kind.wire)
    omitted = field.repeated or field.optional or kind.empty is None
    absent = b"" if omitted else tag + kind.encode(kind.empty)
    return _Prepared(field.name, tag, kind.encode, field.repeated, absent)


def encode_message(fields: Message, value: Mapping[str, Any]) -> bytes:
    """The fields of `value` that the message knows."""
    parts = []
    for name, tag, encode, repeated, absent in fields:
        content = value.get(name)
        if content is None:
            parts.append(absent)
        elif not repeated:
            parts.append(tag + encode(content))
        else:
            items = sorted(content.items()) if isinstance(content, dict) else content
            parts += [tag + encode(item) for item in items]
    return b"".join(parts)


def message_kind(*fields: Field) -> Kind:
    """An embedded message."""
    prepared = message(*fields)
    return Kind(_BYTES, lambda value: delimited(encode_message(prepared, value)), {})


def _string(value: str) -> bytes:
    return delimited(value.encode())


@lru_cache(maxsize=64)
def _time(value: str) -> bytes:
    """The moments of one answer are few: queues are read together."""
    if not value:
        return delimited(b"")
    seconds = int(datetime.fromisoformat(value).timestamp())
    return delimited(b"\x08" + varint(seconds) + b"\x10\x00")


STRING = Kind(_BYTES, _string, "")
INTEGER = Kind(_VARINT, varint, 0)
BOOLEAN = Kind(_VARINT, lambda value: varint(int(value)), False)
TIME = Kind(_BYTES, _time, "")
"""metav1.Time: a moment without a fraction, nothing at all for the zero time."""
QUANTITY = Kind(_BYTES, lambda value: delimited(b"\x0a" + _string(value)), "0")
STRINGS = Kind(_BYTES, lambda value: delimited(b"".join(b"\x0a" + _string(item) for item in value)), None)
"""A list of strings wrapped in a message of its own (metav1.Verbs)."""


def map_field(number: int, name: str) -> Field:
    """A map from string to string; its JSON form is an object."""
    return Field(number, name, _ENTRY, repeated=True)


_ENTRY = Kind(_BYTES, lambda item: delimited(b"\x0a" + _string(item[0]) + b"\x12" + _string(item[1])), None)


def envelope(fields: Message, document: Mapping[str, Any]) -> bytes:
    """`document` as `application/vnd.kubernetes.protobuf`: the magic number and a runtime.Unknown.

    Its content encoding and type are written, empty, as the API machinery does.
    """
    kind = _string(document["apiVersion"]), _string(document["kind"])
    type_meta = b"\x0a" + kind[0] + b"\x12" + kind[1]
    raw = encode_message(fields, document)
    return _MAGIC + b"\x0a" + delimited(type_meta) + b"\x12" + delimited(raw) + b"\x1a\x00\x22\x00"
