"""Follows the log of one worker from its start, or from where an earlier process stopped, to its end.

A broken connection, an API server or kubelet that restarts, and a follower that was away for a while
all come to the same: read again from a little before, skip what is known. The log is over when the
worker has ended and a last reading brought nothing new.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.logs.lines import Line, LineSplitter, Position, Progress
from ottoscaler.orchestrator.worker import CONTAINER
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

log = get_logger("logs")

_LOOK = 5.0
_SILENCE = 300.0
"""Seconds after which a stream that says nothing is opened again."""
_GIVE_UP = 60.0
"""After the worker's end its log is asked for in vain for so long: a node may be gone, a file deleted."""


@dataclass(frozen=True, slots=True)
class Read:
    """A line of the log, or word of lines that can no longer be read."""

    line: Line | None
    position: Position | None
    """After it."""
    cut: int = 0
    """Bytes of the line beyond the limit, which were not kept."""
    gap: str = ""
    """Why lines before this point are missing, when some are; then there is no line."""


class Follower:
    """One worker's log. `line_limit` is bytes; `ended` says whether the worker has."""

    def __init__(
        self,
        *,
        kube: Kube,
        namespace: str,
        pod: str,
        position: Position | None,
        ended: Callable[[], bool],
        wait_for_change: Callable[[float], Awaitable[None]],
        line_limit: int,
        clock: Clock,
    ) -> None:
        self._kube = kube
        self._path = pods_path(namespace, pod) + "/log"
        self._pod = pod
        self._progress = Progress(position)
        self._ended = ended
        self._wait = wait_for_change
        """Returns after so many seconds, or as soon as the worker has changed."""
        self._line_limit = line_limit
        self._clock = clock

    async def read(self) -> AsyncIterator[Read]:
        """Every line once and in order, until the log is over or the pod is gone."""
        backoff = Backoff(initial=0.1, maximum=5.0)
        to_the_end = False  # the kubelet ends a stream by itself when the container has ended
        in_vain_since: float | None = None
        while True:
            final = self._ended()
            fresh = 0
            broken = ""  # why, when it broke
            self._progress.resume()
            try:
                async for item in self._pass(follow=not final, complete=to_the_end):
                    fresh += item.line is not None
                    yield item
            except KubeError as error:
                if error.status == 404:
                    if not to_the_end:
                        yield Read(None, None, gap="the pod was removed before its log was read to the end")
                    return
                broken = error.message or error.reason
                log.debug("log stream broke", pod=self._pod, error=error)
            except ValueError as error:
                broken = str(error)
                log.debug("log stream garbled", pod=self._pod, error=error)
            if final and not broken and not fresh:
                return
            if final and broken and not fresh:
                in_vain_since = self._clock.monotonic() if in_vain_since is None else in_vain_since
                if self._clock.monotonic() - in_vain_since >= _GIVE_UP:
                    yield Read(None, None, gap=f"the log could not be read to its end: {broken[:200]}")
                    return
            else:
                in_vain_since = None
            to_the_end = not broken
            if fresh and not broken:
                backoff.reset()
            if not final or broken:
                await self._wait(backoff.next())

    async def _pass(self, *, follow: bool, complete: bool) -> AsyncIterator[Read]:
        """One request, from `position` on; `complete`: the one before ended with the log."""
        splitter = LineSplitter(limit=self._line_limit, torn=self._progress.position is not None)
        async for piece in self._pieces(follow=follow):
            for line, cut in splitter.feed(piece):
                for item in self._take(line, cut):
                    yield item
        if not follow:
            # Only a reading that ran to its end tells an unfinished last line from one that was torn off.
            for line, cut in splitter.finish():
                for item in self._take(line, cut):
                    yield item
            if self._progress.lost and not complete:
                yield self._gap()

    async def _pieces(self, *, follow: bool) -> AsyncIterator[bytes]:
        """Raises `KubeError` when nothing comes although something should: the connection may be dead."""
        pieces = self._kube.stream(self._path, self._params(follow=follow))
        coming: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(anext(pieces, None))
                await self._until_done(coming)
                piece = coming.result()
                if piece is None:
                    return
                yield piece
        finally:
            if coming is not None and not coming.done():
                coming.cancel()
                await asyncio.wait({coming})
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    async def _until_done(self, coming: "asyncio.Future[bytes | None]") -> None:
        """A worker may be silent for long; one that has ended may not, nor may a connection for ever."""
        silent = 0.0
        while not coming.done():
            await asyncio.wait({coming}, timeout=_LOOK)
            silent += _LOOK
            if not coming.done() and (silent >= _SILENCE or self._ended()):
                raise KubeError(status=0, reason="Timeout", message="the log stream is silent")

    def _params(self, *, follow: bool) -> dict[str, str]:
        params = {"container": CONTAINER, "timestamps": "true"}
        if follow:
            params["follow"] = "true"
        if self._progress.position is not None:
            params["sinceTime"] = self._progress.position.since
        return params

    def _take(self, line: Line, cut: int) -> list[Read]:
        if not self._progress.accept(line):
            return []
        items = [self._gap()] if self._progress.lost else []
        return [*items, Read(line, self._progress.position, cut=cut)]

    def _gap(self) -> Read:
        self._progress.found()
        return Read(None, self._progress.position, gap="the kubelet rotated the log before it was read")
