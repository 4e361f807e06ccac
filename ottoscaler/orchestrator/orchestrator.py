"""Puts the parts together, starts them, and stops them in an order in which nothing is lost."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from prometheus_client import ProcessCollector

from ottoscaler.orchestrator.certificates import UnusableCertificate
from ottoscaler.orchestrator.config.model import Root
from ottoscaler.orchestrator.events.claims import Claims
from ottoscaler.orchestrator.events.consumer import EventConsumer, EventRules
from ottoscaler.orchestrator.events.stream import EventStream
from ottoscaler.orchestrator.handler.buffer import Budget
from ottoscaler.orchestrator.handler.link import HandlerLink
from ottoscaler.orchestrator.index import WorkerIndex
from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.launch import Launcher
from ottoscaler.orchestrator.metered import MeteredKube
from ottoscaler.orchestrator.pages import Status, pages
from ottoscaler.orchestrator.pipelines.engine import Engine
from ottoscaler.orchestrator.pipelines.runs import Runs
from ottoscaler.orchestrator.scaling import Scaler
from ottoscaler.orchestrator.service.pipelines import PipelineCalls
from ottoscaler.orchestrator.service.pushed_logs import PushedLogs, PushRules
from ottoscaler.orchestrator.service.receipts import Receipts
from ottoscaler.orchestrator.service.scaling import ScalingCalls
from ottoscaler.orchestrator.service.server import CannotServe, GrpcServer
from ottoscaler.orchestrator.service.servicers import OttoscalerServicer
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.orchestrator.template import PodDefaults
from ottoscaler.orchestrator.tending.caretaker import Rules
from ottoscaler.orchestrator.tending.quota import Limits, Quota
from ottoscaler.orchestrator.tending.settled import Ledger
from ottoscaler.orchestrator.tending.tender import Parts, Tender
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.lease import Lease, LeaseTimes
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.redis_client import client as redis_client
from ottoscaler.runtime.tasks import Backoff, supervise

log = get_logger("orchestrator")


class Orchestrator:
    """One replica: works from entering the context to leaving it."""

    def __init__(
        self, settings: Root, *, kube: Kube, identity: str, environ: Mapping[str, str], clock: Clock
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._identity = identity
        self._clock = clock
        self.telemetry = Telemetry()
        ProcessCollector(registry=self.telemetry.registry)
        self._kube: Kube = MeteredKube(kube, self.telemetry)
        self._leaving = False
        self._consumer: EventConsumer | None = None
        self._stream: EventStream | None = None
        self._events_ready = asyncio.Event()
        self._build_core()
        self._build_services()

    def _build_core(self) -> None:
        settings, namespace, clock = self._settings, self._settings.workers.namespace, self._clock
        limits = Limits(per_task=settings.quota.per_task, total=settings.quota.total)
        self.index = WorkerIndex(self._kube, namespace)
        self._launcher = Launcher(
            kube=self._kube,
            index=self.index,
            defaults=pod_defaults(settings, gated=limits.any),
            telemetry=self.telemetry,
            clock=clock,
        )
        self._lease = Lease(
            self._kube,
            namespace=namespace,
            name=settings.lease.name,
            identity=self._identity,
            times=lease_times(settings.lease.duration),
            clock=clock,
        )
        self._lease.on_change = self._leadership
        self._runs = Runs(self._kube, namespace)
        self._engine = Engine(
            kube=self._kube,
            runs=self._runs,
            index=self.index,
            launcher=self._launcher,
            keep=settings.pipelines.keep,
            leading=lambda: self._lease.valid,
            telemetry=self.telemetry,
            clock=clock,
        )
        self._receipts = Receipts(self._kube, namespace, clock=clock)
        self._ledger = Ledger(
            events=settings.events is not None,
            others=(self._receipts.wait, self._engine.wait),
            clock=clock,
        )
        self._scaler = Scaler(
            kube=self._kube, index=self.index, launcher=self._launcher, settlement=self._ledger, clock=clock
        )
        self._quota = Quota(
            kube=self._kube, index=self.index, limits=limits, telemetry=self.telemetry, clock=clock
        )

    def _build_services(self) -> None:
        settings, clock = self._settings, self._clock
        self._link = self._open_link()
        self._budget = Budget(settings.logs.total_bytes)
        self.telemetry.log_buffered.set_function(lambda: self._budget.used)
        streams = asyncio.Semaphore(settings.logs.streams)
        self._scaling = ScalingCalls(
            kube=self._kube,
            namespace=settings.workers.namespace,
            scaler=self._scaler,
            receipts=self._receipts,
            most=settings.workers.max_per_request,
            clock=clock,
        )
        self._pipelines = PipelineCalls(
            self._runs,
            identity=self._identity,
            max_stages=settings.pipelines.max_stages,
            max_workers=settings.workers.max_per_request,
            clock=clock,
        )
        self._pushed = PushedLogs(
            link=self._link,
            rules=PushRules(
                rate=settings.logs.push_rate,
                buffer_lines=settings.logs.buffer_lines,
                buffer_bytes=settings.logs.buffer_bytes,
                message_bytes=settings.logs.line_limit,
                sessions=settings.logs.push_sessions,
            ),
            budget=self._budget,
            streams=streams,
            telemetry=self.telemetry,
            clock=clock,
        )
        self._server = GrpcServer(
            settings.grpc,
            OttoscalerServicer(scaling=self._scaling, pipelines=self._pipelines, telemetry=self.telemetry),
            self._pushed,
        )
        self._tender = Tender(
            Parts(
                kube=self._kube,
                index=self.index,
                link=self._link,
                settled=self._ledger,
                rules=tending_rules(settings),
                budget=self._budget,
                streams=streams,
                telemetry=self.telemetry,
                clock=clock,
            )
        )

    def _open_link(self) -> HandlerLink | None:
        handler = self._settings.handler
        if handler is None:
            return None
        try:
            return HandlerLink(handler, telemetry=self.telemetry, clock=self._clock)
        except UnusableCertificate as error:
            raise CannotServe(f"handler.tls cannot be used: {error}") from error

    @property
    def grpc_port(self) -> int:
        """The port that is served, also when the configuration said 0."""
        return self._server.port

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        try:
            await self._server.start()
            self.pages = await self._stack.enter_async_context(
                pages(self._settings.http.address, self._status, self.telemetry.registry)
            )
            self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
            self._start()
        except BaseException:
            await self._server.stop(0)
            await self._stack.aclose()
            raise
        log.info(
            "serving",
            grpc=self.grpc_port,
            http=self.pages.port,
            namespace=self._settings.workers.namespace,
            identity=self._identity,
            mock=self._settings.mock,
        )
        return self

    def _start(self) -> None:
        start = self._group.create_task
        self._background = [
            start(self._supervised(self.index.run, "watch of workers")),
            start(self._supervised(self._runs.run, "watch of pipelines")),
            start(self._supervised(self._ledger.run, "settlement")),
            start(self._pushed.run()),
        ]
        if self._link is not None:
            self._background.append(start(self._supervised(self._link.run, "link to the handler")))
        if self._settings.events is not None:
            self._background.append(start(self._supervised(self._read_events, "events")))
        self._leading = start(self._supervised(lambda: self._lease.run(self._duty), "leadership"))

    async def _supervised(self, run: Any, what: str) -> None:
        def failed(error: Exception, delay: float) -> None:
            log.error("a part failed, starting it again", part=what, error=error, exc_info=error)

        await supervise(run, backoff=Backoff(initial=0.5, maximum=10.0), on_failure=failed, clock=self._clock)

    async def _duty(self) -> None:
        """What the leader does."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tender.run())
            group.create_task(self._quota.run())
            group.create_task(self._engine.run())
            group.create_task(self._receipts.run())
            if self._settings.events is not None:
                group.create_task(self._claim_events())

    async def _read_events(self) -> None:
        events = self._settings.events
        if events is None:
            return
        rules = event_rules(self._settings)
        async with redis_client(
            events.redis, environ=self._environ, timeout=5.0, decode_responses=False
        ) as client:
            stream = EventStream(
                client,
                stream=events.stream,
                group=events.group,
                consumer=self._identity,
                transactions=not events.redis.cluster,
            )
            consumer = EventConsumer(
                stream=stream, scaler=self._scaler, rules=rules, telemetry=self.telemetry, clock=self._clock
            )
            consumer.on_settled = self._ledger.note
            self._ledger.attach(stream)
            self._stream, self._consumer = stream, consumer
            self._events_ready.set()
            try:
                await consumer.run()
            finally:
                self._events_ready.clear()

    async def _reader(self) -> tuple[EventStream, EventConsumer]:
        """Who reads events now; waited for while reading has failed and is about to begin anew."""
        while self._stream is None or self._consumer is None or not self._events_ready.is_set():
            await self._events_ready.wait()
        return self._stream, self._consumer

    async def _claim_events(self) -> None:
        claims = Claims(
            current=self._reader,
            rules=event_rules(self._settings),
            telemetry=self.telemetry,
            clock=self._clock,
        )
        await claims.run()

    def _leadership(self, leading: bool) -> None:
        self.telemetry.leader.set(leading)
        self.telemetry.leader_changes.labels("gained" if leading else "lost").inc()

    def _status(self) -> Status:
        return Status(
            identity=self._identity,
            leading=self._lease.leading,
            leader=self._lease.holder,
            leaving=self._leaving,
            synced=self.index.synced.is_set(),
            workers=tuple(self.index),
            events=None if self._consumer is None else self._consumer.in_flight,
            redis=None if self._consumer is None else self._consumer.connected,
            handler=None if self._link is None else self._link.available,
            runs=sum(not run.state.over for run in self._runs),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        grace = float(self._settings.grace)
        log.info("stopping: no new work from now on; workers go on by themselves")
        self._leaving = True
        await self._server.set_serving(serving=False)
        self._pipelines.leave()
        self._pushed.leave()
        try:
            async with asyncio.timeout(grace * 0.5):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._server.stop(grace * 0.5))
                    group.create_task(self._finish_work(grace))
        except TimeoutError:
            log.warning("not everything could be finished in time; a successor takes over")
        await self._server.stop(0)
        await self._pushed.close(grace * 0.15)
        await self._pipelines.close()
        self._leading.cancel()
        await asyncio.wait({self._leading})
        for task in self._background:
            task.cancel()
        await self._stack.aclose()
        if self._link is not None:
            await self._link.close()

    async def _finish_work(self, grace: float) -> None:
        """What is under way is carried out; then streams that would never end are ended."""
        if self._consumer is not None:
            await self._consumer.stop(grace * 0.4)
        await self._scaling.drain()
        await self._pipelines.drain()
        await self._server.stop(grace * 0.05)


def pod_defaults(settings: Root, *, gated: bool) -> PodDefaults:
    """What every worker is made from."""
    resources = settings.workers.resources
    return PodDefaults(
        image=settings.workers.image,
        limits={"cpu": resources.cpu_limit, "memory": resources.memory_limit},
        requests={
            "cpu": resources.cpu_request or resources.cpu_limit,
            "memory": resources.memory_request or resources.memory_limit,
        },
        active_deadline=settings.workers.active_deadline,
        template=settings.workers.template,
        gated=gated,
    )


def tending_rules(settings: Root) -> Rules:
    """How workers are tended."""
    return Rules(
        retain=settings.workers.retain,
        handover=settings.handler.handover if settings.handler is not None else 0.0,
        follow_logs=settings.logs.follow and settings.handler is not None,
        buffer_lines=settings.logs.buffer_lines,
        buffer_bytes=settings.logs.buffer_bytes,
        pressure=settings.logs.pressure,
        line_limit=settings.logs.line_limit,
    )


def event_rules(settings: Root) -> EventRules:
    """How events are treated."""
    if settings.events is None:
        return EventRules()
    return EventRules(
        in_flight=settings.events.in_flight,
        claim_idle=settings.events.claim_idle,
        attempts=settings.events.attempts,
        quota_patience=settings.events.quota_patience,
        most_workers=settings.workers.max_per_request,
    )


def lease_times(duration: float) -> LeaseTimes:
    """In client-go's proportions."""
    return LeaseTimes(duration=duration, renew_deadline=duration * 2 / 3, retry=duration * 2 / 15)
