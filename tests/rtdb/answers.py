"""How an answer leaves: JSON with the headers of the database, whole, or broken by a fault."""

import asyncio
import gzip
import json
from typing import Any

from aiohttp import web

from tests.rtdb.events import encode
from tests.rtdb.faults import GARBAGE, Fault

JSON_TYPE = "application/json; charset=utf-8"
_GZIP_FROM_BYTES = 512


def error(status: int, message: str) -> web.Response:
    """The database's own form of an error."""
    return web.Response(body=encode({"error": message}).encode(), status=status, headers=_headers())


def answer(request: web.Request, value: Any, *, status: int = 200, etag: str | None = None) -> web.Response:
    """`value` as JSON, in the form that the request's `print` and `Accept-Encoding` ask for."""
    headers = _headers()
    if etag is not None:
        headers["ETag"] = etag
    style = request.query.get("print")
    if style == "silent" and status == 200:
        return web.Response(status=204, headers=headers)
    if style == "pretty":
        body = json.dumps(value, indent=2, ensure_ascii=False).encode()
    else:
        body = encode(value).encode()
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, status=status, headers=headers)


def not_modified(etag: str) -> web.Response:
    """A 304."""
    return web.Response(status=304, headers={"ETag": etag})


def _headers() -> dict[str, str]:
    return {"Content-Type": JSON_TYPE, "Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"}


async def broken(request: web.Request, fault: Fault, whole: web.Response) -> web.StreamResponse:
    """What the fault makes of the answer `whole`."""
    match fault.what:
        case "status":
            return web.Response(
                status=fault.status, body=fault.body, headers={**_headers(), **dict(fault.headers)}
            )
        case "redirect":
            return web.Response(status=307, headers={"Location": fault.location})
        case "delay":
            await asyncio.sleep(fault.seconds)
            return whole
        case "garbage":
            return web.Response(status=200, body=GARBAGE, headers=_headers())
        case "silent":
            await asyncio.Event().wait()
    return await _in_pieces(request, fault, whole)


async def _in_pieces(request: web.Request, fault: Fault, whole: web.Response) -> web.StreamResponse:
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    if fault.what in ("truncated", "drip"):
        response.content_length = len(body)
        await response.prepare(request)
    if fault.what == "drip":
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(fault.seconds)
        return response
    if fault.what == "truncated":
        await response.write(body[: len(body) // 2])
    reset(request)
    return response


def reset(request: web.Request) -> None:
    """Drops the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
