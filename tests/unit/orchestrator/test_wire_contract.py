"""Names, numbers and types of the protocol are those of the contract, one by one, and no others."""

import re
from pathlib import Path

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

CONTRACT = Path(__file__).with_name("wire_contract.md").read_text()
PROTOCOL = pb.DESCRIPTOR
_SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_FLOAT: "float",
}


def type_of(field: FieldDescriptor) -> str:
    """As the contract writes it."""
    message, enum = field.message_type, field.enum_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (message.fields_by_name[name] for name in ("key", "value"))
        return f"map<{_SCALARS[key.type]}, {_SCALARS[value.type]}>"
    name = message.name if message is not None else enum.name if enum is not None else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


def values_of(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def test_the_package() -> None:
    assert PROTOCOL.package == "ottoscaler.v1"


def test_every_field_of_every_message() -> None:
    expected = {
        name: [
            (int(number), field, kind) for number, field, kind in re.findall(r"`(\d+) (\w+): ([^`]+)`", rest)
        ]
        for name, rest in re.findall(r"^- \*\*(\w+)\*\*: (`1 .*)$", CONTRACT, re.MULTILINE)
    }
    assert (len(expected), sum(map(len, expected.values()))) == (20, 118), "the table was read whole"
    assert expected == {
        name: [(field.number, field.name, type_of(field)) for field in message.fields]
        for name, message in PROTOCOL.message_types_by_name.items()
    }


def test_every_value_of_every_enum() -> None:
    expected = {
        name: {value: int(number) for value, number in re.findall(r"`(\w+)=(\d+)`", rest)}
        for name, rest in re.findall(r"^- \*\*([\w.]+)\*\*: (`\w+=0`.*)$", CONTRACT, re.MULTILINE)
    }
    assert len(expected) == 7
    nested = {
        f"{message.name}.{enum.name}": values_of(enum)
        for message in PROTOCOL.message_types_by_name.values()
        for enum in message.enum_types
    }
    outer = {name: values_of(enum) for name, enum in PROTOCOL.enum_types_by_name.items()}
    assert expected == nested | outer


def test_every_method_of_every_service() -> None:
    rows = re.findall(
        r"^\| rpc \| (\w+/\w+) \| (stream )?(\w+) \| (stream )?(\w+) \|$", CONTRACT, re.MULTILINE
    )
    assert len(rows) == 8
    assert {row[0]: row[1:] for row in rows} == {
        f"{service.name}/{method.name}": (
            "stream " if method.client_streaming else "",
            method.input_type.name,
            "stream " if method.server_streaming else "",
            method.output_type.name,
        )
        for service in PROTOCOL.services_by_name.values()
        for method in service.methods
    }
