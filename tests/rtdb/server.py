"""The server itself: databases by namespace, open streams, faults, and the log of what was asked.

It can be taken away and brought back on the same port with its data, as a real outage does.
"""

import time
from collections import Counter
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import web

from tests.rtdb import disk
from tests.rtdb.access import Refused, Tokens, authorise
from tests.rtdb.answers import broken, error
from tests.rtdb.database import Database, Path, split_path
from tests.rtdb.events import Listener
from tests.rtdb.faults import NEED_A_BODY, Fault, Faults
from tests.rtdb.handlers import Handlers, method_of, path_of
from tests.rtdb.query import BadQuery, parse_query
from tests.rtdb.streaming import Stream

KEEP_ALIVE_SECONDS = 30.0
_REAL_DOMAINS = (".firebaseio.com", ".firebasedatabase.app")
_SHUTDOWN_SECONDS = 0.02
"""An outage is not graceful; aiohttp takes 0 to mean for ever."""
_A_BODY = 16
"""Bytes from which an answer can be cut in two, or come slowly."""
_STREAM_FAULTS_BEFORE_HEADERS = frozenset({"status", "redirect", "reset"})


class Asked(NamedTuple):
    """One request, as the log keeps it."""

    method: str
    target: str
    authorization: str | None
    accept: str


class RtdbServer:
    """Databases on one port of one address. Use as an async context manager, or `start` and `stop` it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_alive: float = KEEP_ALIVE_SECONDS,
        tokens: Tokens | None = None,
        default_namespace: str = "demo",
        data: FilePath | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.faults = Faults()
        self.tokens = tokens or Tokens()
        self.log: list[Asked] = []
        self.answered: Counter[int] = Counter()
        """How often each status was answered."""
        self.streams: set[Stream] = set()
        self._bytes_of_ended_streams = 0
        self._keep_alive = keep_alive
        self._default_namespace = default_namespace
        self._data = data
        self._databases: dict[str, Database] = disk.load(data) if data is not None else {}
        self._handlers = Handlers(self.tokens)
        self._runner: web.AppRunner | None = None

    @property
    def bytes_streamed(self) -> int:
        """Bytes of event streams so far, by those that have ended too."""
        return self._bytes_of_ended_streams + sum(stream.sent for stream in self.streams)

    @property
    def address(self) -> str:
        """`host:port`, as `FIREBASE_DATABASE_EMULATOR_HOST` wants it."""
        return f"{self.host}:{self.port}"

    def url(self, namespace: str | None = None) -> str:
        """The database URL of a namespace, as for an emulator."""
        return f"http://{self.address}/?ns={namespace or self._default_namespace}"

    def database(self, namespace: str | None = None) -> Database:
        """A database, made when first asked for."""
        return self._databases.setdefault(namespace or self._default_namespace, Database())

    def write(self, path: str, value: Any, *, namespace: str | None = None) -> None:
        """A PUT without the network."""
        self.database(namespace).put(split_path(path), value, now_ms=time.time_ns() // 1_000_000)

    def update(self, path: str, values: dict[str, Any], *, namespace: str | None = None) -> None:
        """A PATCH without the network."""
        self.database(namespace).patch(split_path(path), values, now_ms=time.time_ns() // 1_000_000)

    def disturb(self, fault: Fault) -> int:
        """Makes a `running` fault happen in every open stream of its path; how many there were."""
        wanted = None if fault.path is None else split_path(fault.path)
        disturbed = [stream for stream in self.streams if wanted in (None, stream.listener.path)]
        for stream in disturbed:
            stream.disturb(fault)
        self.faults.happened += len(disturbed)
        return len(disturbed)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; a port of 0 is chosen once and then kept."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/.control/faults", self._control)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the port and every connection; the data stays."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        response = await self._answer(request)
        self.answered[response.status] += 1
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = path_of(request)
        if path is None:
            return error(404, "append .json to your request URI to use the REST API")
        self.log.append(
            Asked(
                method_of(request),
                str(request.rel_url),
                request.headers.get("Authorization"),
                request.headers.get("Accept", ""),
            )
        )
        database = self.database(self._namespace(request))
        if "text/event-stream" in request.headers.get("Accept", "") and request.method == "GET":
            return await self._stream(request, database, path)
        where = "/".join(path)
        fault = self.faults.take("read" if method_of(request) == "GET" else "write", where)
        if fault is not None and fault.what == "status":
            return await broken(request, fault, web.Response())
        before = database.writes
        response = await self._handlers.handle(request, database, path)
        if self._data is not None and database.writes != before:
            disk.save(self._data, self._databases)
        if fault is not None and fault.what in NEED_A_BODY and len(response.body or b"") < _A_BODY:  # type: ignore[arg-type]
            self.faults.put_back(fault)
            return response
        return response if fault is None else await broken(request, fault, response)

    async def _stream(self, request: web.Request, database: Database, path: Path) -> web.StreamResponse:
        fault = self.faults.take("stream", "/".join(path))
        if fault is not None and fault.what in _STREAM_FAULTS_BEFORE_HEADERS:
            return await broken(request, fault, web.Response())
        listener = Listener(database, path, None)
        try:
            authorise(request, self.tokens, database, path, ".read")
            listener = Listener(database, path, parse_query(request.query))
            listener.open()
        except Refused as refused:
            return error(401, str(refused))
        except BadQuery as bad:
            return error(400, str(bad))
        stream = Stream(listener, keep_alive=self._keep_alive)
        self.streams.add(stream)
        try:
            return await stream.serve(request, fault)
        finally:
            listener.close()
            self.streams.discard(stream)
            self._bytes_of_ended_streams += stream.sent

    def _namespace(self, request: web.Request) -> str:
        host = request.host.partition(":")[0]
        if "ns" in request.query:
            return request.query["ns"]
        return host.partition(".")[0] if host.endswith(_REAL_DOMAINS) else self._default_namespace

    async def _control(self, request: web.Request) -> web.Response:
        """`POST /.control/faults`: a list of faults as JSON; those of running streams happen at once.

        Answers what has happened so far.
        """
        faults = msgspec.json.decode(await request.read(), type=list[Fault])
        for fault in faults:
            if fault.where == "running":
                self.disturb(fault)
            else:
                self.faults.add(fault)
        return web.json_response(
            {
                "streams": len(self.streams),
                "happened": self.faults.happened,
                "bytesStreamed": self.bytes_streamed,
            }
        )
