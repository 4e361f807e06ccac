"""The JSON schema of configuration blocks, generated from the types that decode them.

Editors complete by it, and the chart's `values.schema.json` contains it, so that Helm refuses what the
processes would refuse. It says what a shape can say; rules that join fields are the decoder's alone.
"""

import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from ottoscaler.runtime.values import DURATION_PATTERN, Duration

DIALECT = "http://json-schema.org/draft-07/schema#"
"""What Helm understands."""


def struct_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of the mappings that decode as `kind`."""
    fields = msgspec.structs.fields(kind)
    made: dict[str, Any] = {
        "type": "object",
        "description": _first_paragraph(kind.__doc__),
        "additionalProperties": False,
        "properties": {field.encode_name: _field(field) for field in fields},
    }
    required = [field.encode_name for field in fields if field.required]
    if required:
        made["required"] = required
    return made


def _field(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    made = _type(field.type)
    default = field.default
    if default is not msgspec.NODEFAULT and default is not None and not isinstance(default, msgspec.Struct):
        made["default"] = (
            str(default) if isinstance(default, Duration | Path) else msgspec.to_builtins(default)
        )
    return made


def _type(kind: Any) -> dict[str, Any]:
    """The schema of one type; struct-typed parts are walked here, all else is msgspec's business."""
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct_schema(kind)
    if origin in {Union, types.UnionType}:
        return {"anyOf": [_type(part) for part in arguments]}
    if origin is Annotated and get_origin(arguments[0]) is tuple:
        made = _type(arguments[0])
        made.update(_lengths(arguments[1:]))
        return made
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return {"type": "array", "items": _type(arguments[0])}
    return dict(msgspec.json.schema(kind, schema_hook=_own_types))


def _lengths(metas: tuple[Any, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for meta in metas:
        if meta.min_length is not None:
            found["minItems"] = meta.min_length
        if meta.max_length is not None:
            found["maxItems"] = meta.max_length
    return found


def _own_types(kind: type) -> dict[str, Any]:
    if kind is Duration:
        return {"type": ["string", "integer"], "pattern": DURATION_PATTERN, "description": "30s, 5m, 1h30m"}
    if kind is Path:
        return {"type": "string", "minLength": 1, "description": "The path of a file."}
    raise TypeError(f"no schema of {kind.__name__} is known")


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
