"""Answers as bytes.

An answer is encoded once and written many times: `Response` keeps the head up to the `Date` line and the
body, so that writing it again is a concatenation.
"""

import gzip
from collections.abc import Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec

from ottoscaler.apiservice.media_types import JSON, PROTOBUF, YAML, Choice

GZIP_FROM = 128 * 1024
"""Bytes from which an answer is compressed for those who take gzip; apiserver's threshold."""

_encode = msgspec.json.Encoder().encode

Headers = tuple[tuple[str, str], ...]

NO_STORE: Headers = (("Cache-Control", "no-cache, private"),)


class Response:
    """A complete answer but for what changes from one writing to the next (date, connection)."""

    __slots__ = ("_compressed", "_content_type", "_headers", "body", "head", "status")

    def __init__(
        self, status: int, body: bytes, *, content_type: str = "", headers: Headers = NO_STORE
    ) -> None:
        self.status = status
        self.body = body
        self._content_type = content_type
        self._headers = headers
        self._compressed: Response | None = None
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        if status != HTTPStatus.NOT_MODIFIED:
            lines.append(f"Content-Length: {len(body)}")
        self.head = "\r\n".join(lines).encode("latin-1") + b"\r\n"

    def compressed(self) -> "Response":
        """The same answer as gzip when it is large enough to gain by it, else itself."""
        if len(self.body) < GZIP_FROM:
            return self
        if self._compressed is None:
            headers = (*self._headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
            body = gzip.compress(self.body, compresslevel=1, mtime=0)
            self._compressed = Response(self.status, body, content_type=self._content_type, headers=headers)
        return self._compressed


@lru_cache(maxsize=64)
def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def text_response(status: int, text: str, *, headers: Headers = NO_STORE) -> Response:
    """An answer for people and probes."""
    return Response(
        status,
        text.encode(),
        content_type="text/plain; charset=utf-8",
        headers=(*headers, ("X-Content-Type-Options", "nosniff")),
    )


class Document:
    """An API object and each encoding of it that was ever asked for."""

    __slots__ = ("_headers", "_responses", "content", "status")

    def __init__(self, content: Mapping[str, Any], *, status: int = 200, headers: Headers = NO_STORE) -> None:
        self.content = content
        self.status = status
        self._headers = headers
        self._responses: dict[Choice, Response] = {}

    def response(self, choice: Choice) -> Response:
        """The answer in the representation that was negotiated."""
        response = self._responses.get(choice)
        if response is None:
            response = self._responses[choice] = Response(
                self.status,
                encode(self.content, choice),
                content_type=choice.content_type,
                headers=self._headers,
            )
        return response


def encode(content: Mapping[str, Any], choice: Choice) -> bytes:
    """An API object in a media type."""
    return _ENCODERS[choice.media_type](content, choice.pretty)


def _json(content: Mapping[str, Any], pretty: bool) -> bytes:
    encoded = _encode(content)
    return msgspec.json.format(encoded, indent=2) if pretty else encoded + b"\n"


def _yaml(content: Mapping[str, Any], _pretty: bool) -> bytes:
    from ottoscaler.apiservice.block_yaml import to_yaml  # only people ask for it

    return to_yaml(content)


def _protobuf(content: Mapping[str, Any], _pretty: bool) -> bytes:
    from ottoscaler.apiservice.messages import to_protobuf

    return to_protobuf(content)


_ENCODERS: Mapping[str, Callable[[Mapping[str, Any], bool], bytes]] = {
    JSON: _json,
    YAML: _yaml,
    PROTOBUF: _protobuf,
}
