"""The faults of a Realtime Database: in answers, in streams, in tokens, in the network and in the clock."""

import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from yarl import URL

from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions
from ottoscaler.adapter.sources.base import Source, SourceContext
from ottoscaler.adapter.sources.firebase_rtdb import FirebaseRtdbBackend, FirebaseRtdbSource
from ottoscaler.adapter.sources.firebase_settings import Endpoint, FirebaseSettings
from ottoscaler.adapter.sources.firebase_token import GoogleToken, TokenSource
from ottoscaler.runtime.values import Duration
from tests.faultrun.campaign import configuration
from tests.faultrun.clock import JumpingClock, Span
from tests.faultrun.documents import Documents, document, node
from tests.faultrun.scene import Sign, Terms
from tests.faultrun.truth import TruthLog
from tests.rtdb import Fault, RtdbServer
from tests.rtdb.access import Tokens
from tests.rtdb.faults import auth_revoked_frame, cancel_frame
from tests.rtdb.google import TokenEndpoint, token_endpoint
from tests.unit.adapter.firebase.truth import judge

_MAX_AGE = 6.0
_INTERVAL = 0.4
_TIMEOUT = 0.6
_DELIVERY = 1.0
_READ_TIMEOUT = 1.0
_HALF = '{"job-1":{"status":"pend'
_ANSWERS: Mapping[str, Fault] = {
    "401": Fault(what="status", status=401, body='{"error":"Unauthorized request."}'),
    "403": Fault(what="status", status=403),
    "429": Fault(what="status", status=429),
    "500": Fault(what="status", status=500, body="<html>oops</html>"),
    "503": Fault(what="status", status=503),
    "truncated JSON": Fault(what="status", status=200, body=_HALF),
    "garbage": Fault(what="garbage"),
    "reset": Fault(what="reset"),
    "reset mid-body": Fault(what="truncated"),
    "silence": Fault(what="silent"),
    "slow drip": Fault(what="drip", seconds=0.1),
    "stranger": Fault(what="redirect", location="https://stranger.example/x.json"),
}
"""What an answer, or the opening of a stream, can be instead."""
_TWICE = frozenset({"401", "reset"})
"""A 401 is answered by a new token, and a reset by a second attempt of the HTTP client."""
_RUNNING: Mapping[str, Fault] = {
    "stream reset": Fault(what="reset", where="running"),
    "stream reset mid-event": Fault(what="truncated", where="running"),
    "stream ended": Fault(what="end", where="running"),
    "stream garbage": Fault(what="garbage", where="running"),
    "stream half open": Fault(what="silent", where="running"),
    "stream cancelled": Fault(what="send", where="running", body=cancel_frame().decode()),
    "stream revoked": Fault(what="send", where="running", body=auth_revoked_frame().decode()),
    "stream wrong event": Fault(what="send", where="running", body="event: put\ndata: [1]\n\n"),
}
_SKEWS = (-7200.0, -60.0, -3.0, 0.0, 3.0, 60.0, 7200.0)
_EVERYWHERE = ("refused", "token expired", "token refused", "clock jump")


class GuardedSource(FirebaseRtdbSource):
    """The source against a server that wants a service account's token, which a real one does over TLS."""

    def __init__(
        self, settings: FirebaseSettings, context: SourceContext, address: str, key_file: Path
    ) -> None:
        super().__init__(settings, context)
        self._guard = Endpoint(base=URL(f"http://{address}/"), namespace="demo", is_emulator=False)
        self._tokens = GoogleToken.of(key_file, context.clock)

    def _connection(self) -> tuple[Endpoint, TokenSource]:
        return self._guard, self._tokens


class GuardedBackend(FirebaseRtdbBackend):
    """Makes guarded sources."""

    def __init__(self, address: str, key_file: Path) -> None:
        self._address = address
        self._key_file = key_file

    def source(self, settings: FirebaseSettings, context: SourceContext) -> Source:
        return GuardedSource(settings, context, self._address, self._key_file)


class FirebaseScene:
    """Queues of one database."""

    def __init__(
        self,
        server: RtdbServer,
        google: TokenEndpoint,
        key_file: Path,
        *,
        mode: Literal["stream", "poll"],
        queues: int,
        seed: int,
    ) -> None:
        self.clock = JumpingClock()
        self.common = frozenset(_EVERYWHERE)
        self.terms = Terms(max_age=_MAX_AGE, back_off=_INTERVAL, reading=_READ_TIMEOUT, delivery=_DELIVERY)
        self.truths = {f"q{number}": TruthLog() for number in range(queues)}
        answers = [*_ANSWERS, *(f"{name}, opening" for name in _ANSWERS if mode == "stream")]
        self._kinds: Sequence[str] = (*answers, *(_RUNNING if mode == "stream" else ()), *_EVERYWHERE)
        self._server = server
        self._google = google
        self._backend = GuardedBackend(server.address, key_file)
        self._mode = mode
        self._common_trouble = False
        self._rng = random.Random(f"{seed} scene")
        for queue in self.truths:
            self._put(queue, (), node(self._rng))

    def config(self) -> Config:
        queues = [
            QueueConfig(
                options=QueueOptions(name=name, max_age=Duration(_MAX_AGE), timeout=Duration(_TIMEOUT)),
                block="firebase",
                settings=FirebaseSettings(
                    database_url="https://demo.firebaseio.com",
                    path=_path(name),
                    mode=self._mode,
                    read_timeout=Duration(_READ_TIMEOUT),
                ),
                kind="firebase-rtdb",
                interval=_INTERVAL,
            )
            for name in self.truths
        ]
        return configuration(queues, firebase=self._backend)

    async def write(self, queue: str) -> None:
        rng = self._rng
        jobs = sorted(self._server.database().get((*_path(queue).split("/"),)) or {})
        job = rng.choice(jobs) if jobs else "job-0"
        match rng.randrange(12):
            case 0:
                self._put(queue, (), node(rng))
            case 1 | 2 if len(jobs) > 3:
                self._put(queue, (job,), None)
            case 3 | 4:
                self._put(queue, (job, "status"), rng.choice(["pending", "processing", "failed", None, 5]))
            case 5:
                self._put(
                    queue, (job, "assignedPodId"), rng.choice(["pod-1", {"assignedPodId": "pod-2"}, None])
                )
            case 6:
                self._put(queue, (job, "lastHeartbeat"), time.time())
            case 7:
                self._put(queue, (job, "status", "status"), rng.choice(["processing", "failed", None]))
            case 8 if rng.random() < 0.2:
                self._put(queue, (), None)
            case _:
                self._put(queue, (f"job-{rng.randrange(30)}",), document(rng))

    def kinds(self, queue: str) -> Sequence[str]:
        return self._kinds

    def sign(self, kind: str) -> Sign:
        return {"clock jump": Sign.CLOCK, "token expired": Sign.TOKEN}.get(kind, Sign.FAILURE)

    def spans(self, start: float, end: float) -> Iterator[Span]:
        return self.clock.spans(start, end)

    async def inflict(self, kind: str, queue: str) -> bool:
        path = _path(queue)
        if kind in _EVERYWHERE:
            return await self._everywhere(kind)
        if kind in _RUNNING:
            return self._server.disturb(_at(_RUNNING[kind], "running", path)) > 0
        name = _name(kind)
        where: Literal["stream", "read"] = "read" if name == kind else "stream"
        if where == "stream" and not self._server.disturb(_at(Fault(what="reset"), "running", path)):
            return False
        self._server.faults.add(*[_at(_ANSWERS[name], where, path)] * (2 if name in _TWICE else 1))
        return True

    def has_begun(self, kind: str, queue: str) -> bool:
        waiting = self._server.faults.waiting(_path(queue))
        return kind in _EVERYWHERE or kind in _RUNNING or waiting < (2 if _name(kind) in _TWICE else 1)

    async def relieve(self, kind: str, queue: str) -> None:
        match kind:
            case "refused":
                await self._server.start()
            case "token refused":
                self._google.status = 200
            case _:
                self._server.faults.drop(_path(queue))
        self._common_trouble = self._common_trouble and kind not in _EVERYWHERE

    async def _everywhere(self, kind: str) -> bool:
        """One at a time, since each queue must show its own."""
        if self._common_trouble:
            return False
        self._common_trouble = True
        match kind:
            case "refused":
                await self._server.stop()
            case "token expired":
                self._end_tokens()
            case "token refused":
                self._google.status = self._rng.choice([400, 401])
                self._end_tokens()
            case "clock jump":
                self.clock.jump(self._rng.choice([skew for skew in _SKEWS if skew != self.clock.skew]))
        return True

    def _end_tokens(self) -> None:
        for token in list(self._server.tokens.ends):
            self._server.tokens.revoke(token)
        self._server.disturb(_at(_RUNNING["stream revoked"], "running", None))

    def _put(self, queue: str, keys: tuple[str, ...], value: Any) -> None:
        """Writes, unless the queue would hold something and no job, which is an error and no number."""
        path = "/".join((_path(queue), *keys))
        base = tuple(_path(queue).split("/"))
        self._server.write(path, value)
        truth = judge(self._server.database().get(base))
        if truth is None:
            self._server.write(_path(queue), node(self._rng))
            truth = judge(self._server.database().get(base))
        assert truth is not None
        self.truths[queue].begin(Documents(truth), time.monotonic())
        self.truths[queue].done(time.monotonic())


def _name(kind: str) -> str:
    return kind.removesuffix(", opening")


def _path(queue: str) -> str:
    return f"requestedJobs/{queue}"


def _at(fault: Fault, where: Literal["read", "stream", "running"], path: str | None) -> Fault:
    return Fault(
        what=fault.what,
        where=where,
        status=fault.status,
        body=fault.body,
        seconds=fault.seconds,
        location=fault.location,
        path=path,
    )


@contextlib.asynccontextmanager
async def firebase_scene(
    mode: Literal["stream", "poll"], *, queues: int, seed: int
) -> AsyncIterator[FirebaseScene]:
    """A database that wants tokens, a token endpoint, and queues with jobs."""
    tokens = Tokens(required=True)
    with tempfile.TemporaryDirectory() as directory:
        async with RtdbServer(tokens=tokens, keep_alive=0.9) as server, token_endpoint(tokens) as google:
            key_file = google.write_key(Path(directory) / "key.json")
            yield FirebaseScene(server, google, key_file, mode=mode, queues=queues, seed=seed)
