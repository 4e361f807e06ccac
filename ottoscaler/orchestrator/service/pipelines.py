"""ExecutePipeline: starts a run or finds it running, and tells how it goes until it is over.

The run itself is driven by the leader, from the cluster. So any replica can follow it, and a call that
ends because this process ends leaves the run alone. A client that cancels its call, lets its deadline
pass or loses its connection ends the run, unless another call follows it, here or on another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from ottoscaler.orchestrator.pipelines.marks import RENEWED
from ottoscaler.orchestrator.pipelines.model import RunSpec
from ottoscaler.orchestrator.pipelines.record import Run
from ottoscaler.orchestrator.pipelines.request import read_run
from ottoscaler.orchestrator.pipelines.runs import NoRun, RunInUse, Runs
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.service.calls import Context, Refused
from ottoscaler.orchestrator.service.progress import Story, beginning, end
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff, TaskSet

log = get_logger("pipelines")

_SPACING = 0.1
"""Seconds between two looks at a run that changes all the time."""

Tell = Callable[[pb.PipelineProgress], Awaitable[None]]


class PipelineCalls:
    """The call, apart from how it is served. `identity` tells this replica from the others."""

    def __init__(self, runs: Runs, *, identity: str, max_stages: int, max_workers: int, clock: Clock) -> None:
        self._runs = runs
        self._identity = identity
        self._max_stages = max_stages
        self._max_workers = max_workers
        self._clock = clock
        self._followers: dict[str, int] = {}
        """Calls that follow a run here, by the run's uid."""
        self._notes = TaskSet(_failed)
        self._leaving = asyncio.Event()

    async def execute(self, request: pb.PipelineRequest, context: Context) -> None:
        """Writes progress until the run is over."""
        spec = read_run(request, max_stages=self._max_stages, max_workers=self._max_workers)
        if self._leaving.is_set():
            raise _going_away()
        starting = asyncio.ensure_future(self._start(spec))
        try:
            run = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Whether the run has begun is not known yet: when it has, this client's end is its end too.
            self._notes.start(self._undo(starting))
            raise
        try:
            await self._follow(run, context.write)
        except asyncio.CancelledError:
            self._unfollow(run, cancel=not self._leaving.is_set())
            raise
        except BaseException:
            self._unfollow(run, cancel=False)
            raise
        else:
            self._unfollow(run, cancel=False)

    def leave(self) -> None:
        """The process ends: runs go on, and whoever follows them is told to call again."""
        self._leaving.set()

    async def drain(self) -> None:
        """Waits for what is being noted on records."""
        await self._notes.wait()

    async def close(self) -> None:
        """Gives up what could not be noted."""
        await self._notes.cancel()

    async def _start(self, spec: RunSpec) -> Run:
        """The run, counted as followed. Raises `Refused`, `KubeError`."""
        try:
            run = await self._runs.start(spec, at=self._clock.time(), follower=self._identity)
        except RunInUse as error:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, _in_use(error.run)) from None
        except NoRun as error:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from None
        self._followers[run.uid] = self._followers.get(run.uid, 0) + 1
        return run

    async def _undo(self, starting: "asyncio.Future[Run]") -> None:
        try:
            run = await starting
        except (Refused, KubeError):
            return
        self._unfollow(run, cancel=not self._leaving.is_set())

    def _unfollow(self, run: Run, *, cancel: bool) -> None:
        self._followers[run.uid] -= 1
        if self._followers[run.uid]:
            return
        del self._followers[run.uid]
        newest = self._runs.by_uid(run.uid)
        if newest is None or newest.state.over:
            return
        if cancel:
            log.info("a pipeline's last client here is gone", pipeline=run.spec.id[:80])
        self._notes.start(self._note_end(run, cancel=cancel))

    async def _note_end(self, run: Run, *, cancel: bool) -> None:
        """Until it is noted, the run is gone, or somebody here follows it again."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        while run.uid not in self._followers:
            try:
                if cancel:
                    await self._runs.leave(run, self._identity)
                else:
                    await self._runs.unmark(run, self._identity)
            except KubeError as error:
                if error.status == 404 or (error.status == 409 and await self._is_another(run)):
                    return
                await self._clock.sleep(backoff.next())
            else:
                return

    async def _is_another(self, run: Run) -> bool:
        """Whether the record now belongs to another run; a patch may also meet too many writes of the leader."""
        try:
            found = await self._runs.read(run.name)
        except (KubeError, NoRun):
            return False
        return found is None or found.uid != run.uid

    async def _follow(self, run: Run, tell: Tell) -> None:
        latest, gone = run, False
        changed = asyncio.Event()

        def see(seen: Run, is_gone: bool) -> None:
            nonlocal latest, gone
            if seen.uid == run.uid:
                latest, gone = seen, is_gone
                changed.set()

        story = Story(run.spec)
        renewal = asyncio.create_task(self._renew(run))
        unsubscribe = self._runs.subscribe(see)
        gone = self._runs.by_uid(run.uid) is None
        try:
            await tell(beginning(latest, at=self._clock.time()))
            while True:
                changed.clear()
                newest, was_gone = latest, gone
                for progress in story.news(newest, at=self._clock.time()):
                    await tell(progress)
                if newest.state.over:
                    return await tell(end(newest, at=self._clock.time()))
                if was_gone:
                    raise Refused(grpc.StatusCode.ABORTED, "the record of the run was deleted")
                await self._next(changed)
        finally:
            unsubscribe()
            renewal.cancel()

    async def _renew(self, run: Run) -> None:
        """Keeps this replica's mark on the record."""
        while True:
            await self._clock.sleep(RENEWED)
            try:
                await self._runs.renew(run, self._identity, at=self._clock.time())
            except KubeError as error:
                log.info("a run's mark could not be renewed, trying again", error=error)

    async def _next(self, changed: asyncio.Event) -> None:
        """Raises `Refused` when the process leaves."""
        waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(self._leaving.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if self._leaving.is_set():
            raise _going_away()
        await self._clock.sleep(_SPACING)


def _going_away() -> Refused:
    return Refused(
        grpc.StatusCode.UNAVAILABLE,
        "the orchestrator is going away, the pipeline runs on: call again with the same pipeline_id",
    )


def _in_use(run: Run) -> str:
    state = "a run that has ended" if run.state.over else "a run in progress"
    return (
        f"pipeline_id {run.spec.id[:80]!r} belongs to {state} with another definition: use another id, "
        "or repeat the first definition to follow that run"
    )


def _failed(error: BaseException) -> None:
    log.error("a note on a run failed", error=error, exc_info=error)
