"""Requests of the REST protocol, one handler a verb."""

import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.rtdb.access import Refused, Tokens, authorise
from tests.rtdb.answers import answer, error, not_modified
from tests.rtdb.database import Database, Path, split_path
from tests.rtdb.push_id import PushIds
from tests.rtdb.query import BadQuery, parse_query
from tests.rtdb.values import InvalidData, shown

_NO_JSON = "Invalid data; couldn't parse JSON object, array, or value."
_NO_OBJECT = "Invalid data; couldn't parse JSON object. Are you sending a JSON object with valid key names?"
_WRITES = frozenset({"PUT", "POST", "PATCH", "DELETE"})


def path_of(request: web.Request) -> Path | None:
    """The node that a request is for; None when its path does not end in `.json`."""
    path = request.path
    return split_path(path.removesuffix(".json")) if path.endswith(".json") else None


def method_of(request: web.Request) -> str:
    """The verb, which a header may override where a proxy passes only GET and POST."""
    return request.headers.get("X-HTTP-Method-Override", request.method).upper()


class Handlers:
    """Reads and writes databases on behalf of requests."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._push_ids = PushIds()

    async def handle(self, request: web.Request, database: Database, path: Path) -> web.Response:
        """The whole answer; errors are answers too."""
        method = method_of(request)
        right = ".write" if method in _WRITES else ".read"
        try:
            if path[:2] == (".settings", "rules"):
                return await self._rules(request, database)
            authorise(request, self._tokens, database, path, right)
            if method == "GET":
                return self._get(request, database, path)
            if method not in _WRITES:
                return error(405, "method not supported")
            return await self._write(request, database, path, method)
        except Refused as refused:
            return error(401, str(refused))
        except (BadQuery, InvalidData) as bad:
            return error(400, str(bad))

    def _get(self, request: web.Request, database: Database, path: Path) -> web.Response:
        query = parse_query(request.query)
        wants_etag = request.headers.get("X-Firebase-ETag") == "true"
        known = request.headers.get("If-None-Match")
        if query is not None:
            if wants_etag or known is not None:
                raise BadQuery("ETag is not supported with queries")
            return answer(request, shown_in_order(query.select(database, path)))
        if known is not None and known == database.etag(path):
            return not_modified(known)
        value = database.get(path)
        if request.query.get("shallow") == "true":
            return answer(request, dict.fromkeys(value, True) if isinstance(value, dict) else value)
        etag = database.etag(path) if wants_etag or known is not None else None
        return answer(request, shown(value), etag=etag)

    async def _write(self, request: web.Request, database: Database, path: Path, method: str) -> web.Response:
        if database.locked:
            return error(423, "Data requested is currently locked")
        expected = request.headers.get("If-Match")
        if expected is not None and method in ("PATCH", "POST"):
            return error(400, f"If-Match header is not supported for {method} requests")
        body = None if method == "DELETE" else await _body(request)
        if expected is not None and expected != database.etag(path):
            return answer(request, shown(database.get(path)), status=412, etag=database.etag(path))
        result = self._apply(database, path, method, body)
        wants_etag = expected is not None or request.headers.get("X-Firebase-ETag") == "true"
        return answer(request, result, etag=database.etag(path) if wants_etag else None)

    def _apply(self, database: Database, path: Path, method: str, body: Any) -> Any:
        now_ms = time.time_ns() // 1_000_000
        match method:
            case "POST":
                name = self._push_ids.next()
                database.put((*path, name), body, now_ms=now_ms)
                return {"name": name}
            case "PATCH":
                if not isinstance(body, dict):
                    raise InvalidData(_NO_OBJECT)
                database.patch(path, body, now_ms=now_ms)
                return {key: shown(database.get(path + split_path(key))) for key in body}
        database.put(path, body, now_ms=now_ms)
        return shown(database.get(path))

    async def _rules(self, request: web.Request, database: Database) -> web.Response:
        if not self._tokens.check(_admin_token(request)):
            raise Refused("Permission denied")
        if method_of(request) == "PUT":
            rules = await _body(request)
            if not isinstance(rules, dict) or not isinstance(rules.get("rules"), dict):
                return error(400, 'Line 1: Expected an object with the single key "rules".')
            database.rules = rules
            return answer(request, {"status": "ok"})
        return answer(request, database.rules)


def shown_in_order(value: Any) -> Any:
    """A query's result: REST clients get an object, sorted by key as everywhere."""
    if not isinstance(value, dict):
        return {} if value is None else value
    result = shown(value)
    return {key: shown(value[key]) for key in value} if isinstance(result, list) else result


def _admin_token(request: web.Request) -> str | None:
    header: Mapping[str, str] = request.headers
    return header.get("Authorization", "").removeprefix("Bearer ") or request.query.get("access_token")


async def _body(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except ValueError:
        raise InvalidData(_NO_JSON) from None
