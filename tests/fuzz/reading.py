"""Readers of what the server writes that share no code with it.

HTTP is read by the standard library, protobuf by Google's runtime from descriptors made of the field
tables of Kubernetes' `.proto` files.
"""

import io
from collections.abc import Sequence
from functools import cache
from http.client import HTTPResponse
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TEXT, _BYTES, _MESSAGE, _INT64 = 9, 12, 11, 3


class _Socket:
    def __init__(self, content: io.BytesIO) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._content


def http_answers(written: bytes, methods: Sequence[str]) -> list[tuple[int, str, bytes]]:
    """Status, content type and body of every answer; raises when the bytes are no sequence of answers.

    `methods` are those of the requests; what was no request was refused after them.
    """
    content = io.BytesIO(written)
    content.close = lambda: None  # type: ignore[method-assign]
    answers: list[tuple[int, str, bytes]] = []
    while content.tell() < len(written):
        response = HTTPResponse(_Socket(content))  # type: ignore[arg-type]
        response.begin()
        asked = methods[len(answers)] if len(answers) < len(methods) else "GET"
        length = 0 if asked == "HEAD" else int(response.headers.get("Content-Length", "0"))
        body = content.read(length)
        if len(body) != length:
            raise AssertionError("an answer was cut short")
        answers.append((response.status, response.headers.get("Content-Type", ""), body))
    return answers


_MESSAGES: dict[str, list[tuple[int, str, int, str, bool]]] = {
    "TypeMeta": [(1, "apiVersion", _TEXT, "", False), (2, "kind", _TEXT, "", False)],
    "Unknown": [
        (1, "typeMeta", _MESSAGE, "TypeMeta", False),
        (2, "raw", _BYTES, "", False),
        (3, "contentEncoding", _TEXT, "", False),
        (4, "contentType", _TEXT, "", False),
    ],
    "Time": [(1, "seconds", _INT64, "", False), (2, "nanos", _INT64, "", False)],
    "Quantity": [(1, "string", _TEXT, "", False)],
    "Label": [(1, "key", _TEXT, "", False), (2, "value", _TEXT, "", False)],
    "Value": [
        (1, "metricName", _TEXT, "", False),
        (2, "metricLabels", _MESSAGE, "Label", True),
        (3, "timestamp", _MESSAGE, "Time", False),
        (4, "window", _INT64, "", False),
        (5, "value", _MESSAGE, "Quantity", False),
    ],
    "ListMeta": [(1, "selfLink", _TEXT, "", False), (2, "resourceVersion", _TEXT, "", False)],
    "ExternalMetricValueList": [
        (1, "metadata", _MESSAGE, "ListMeta", False),
        (2, "items", _MESSAGE, "Value", True),
    ],
    "Status": [
        (1, "metadata", _MESSAGE, "ListMeta", False),
        (2, "status", _TEXT, "", False),
        (3, "message", _TEXT, "", False),
        (4, "reason", _TEXT, "", False),
        (6, "code", _INT64, "", False),
    ],
}


@cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="fuzz.proto", package="fuzz", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, of, repeated in fields:
            message.field.add(
                name=field,
                number=number,
                type=kind,
                label=3 if repeated else 1,
                type_name=f".fuzz.{of}" if of else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"fuzz.{name}"))
        for name in _MESSAGES
    }


def protobuf(body: bytes) -> tuple[str, Any]:
    """The kind of an enveloped object, and the object when its kind is known here."""
    if not body.startswith(b"k8s\0"):
        raise AssertionError("no envelope")
    classes = _classes()
    unknown = classes["Unknown"].FromString(body[4:])
    kind = str(unknown.typeMeta.kind)
    return kind, classes[kind].FromString(unknown.raw) if kind in classes else None
