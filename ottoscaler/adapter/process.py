"""The adapter's process: everything that runs in it, from the first line to SIGTERM.

configuration → sources → readings → metrics → API on 6443
                              └──────────────→ Prometheus, status and probes on 8080
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector

import ottoscaler
from ottoscaler.adapter.api import Api, on_loopback, serve_api
from ottoscaler.adapter.config.load import load
from ottoscaler.adapter.config.model import Config
from ottoscaler.adapter.http import HttpServer
from ottoscaler.adapter.metrics import QueueMetrics
from ottoscaler.adapter.options import Options, StartError
from ottoscaler.adapter.readings import Readings
from ottoscaler.adapter.reload import Reloader
from ottoscaler.adapter.replicas import Replicas
from ottoscaler.adapter.sources.base import SourceContext
from ottoscaler.adapter.sources.sharing import ALONE, Sharing
from ottoscaler.adapter.supervisor import Supervisor
from ottoscaler.adapter.telemetry import AdapterCollector, ReloadStatus
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.config import split_address
from ottoscaler.runtime.kube import KubeClient
from ottoscaler.runtime.kubeconfig import KubeConfigError
from ottoscaler.runtime.log import configure_logging, get_logger
from ottoscaler.runtime.memory import kept_small
from ottoscaler.runtime.tasks import Backoff, supervise

log = get_logger("adapter")

_NOTICE = 1.0
"""Seconds from being unready to closing the door: callers need them to look elsewhere."""
_LAST_MOMENT = 4.5
"""Seconds after SIGTERM at which the process ends, whatever still hangs: the kubelet was promised five."""
_WARM_UP = 3.0
"""Seconds after the start in which a first look at every queue is waited for, whatever it shows."""


async def run(options: Options, *, clock: Clock = SYSTEM_CLOCK) -> None:
    """Serves until SIGTERM or SIGINT. Raises `ConfigError` or `StartError`."""
    config = load(options.config, os.environ)
    configure_logging(level=config.root.log.level, format=config.root.log.format)
    try:
        await _Adapter(config, options, clock).run()
    except ExceptionGroup as group:  # task groups wrap whatever leaves them
        matched, _ = group.split(StartError)
        raise group if matched is None else _first(matched) from None


def _first(group: ExceptionGroup[StartError]) -> StartError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, ExceptionGroup) else inner


class _Adapter:
    """The parts that live as long as the process."""

    def __init__(self, config: Config, options: Options, clock: Clock) -> None:
        self._config = config
        self._options = options
        self._clock = clock
        self._started = clock.monotonic()
        self._stop = asyncio.Event()
        self._readings = Readings(clock)
        self._metrics = QueueMetrics(self._readings, clock)
        self._reload = ReloadStatus(hash=config.digest, applied_at=clock.time())
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            stack.enter_context(_handlers({signal.SIGTERM: self._stop.set, signal.SIGINT: self._stop.set}))
            kube = await self._cluster(stack)
            tasks = _Tasks(stack, await stack.enter_async_context(asyncio.TaskGroup()))
            supervisor = await stack.enter_async_context(
                Supervisor(self._readings, self._context(self._sharing(kube, tasks)))
            )
            self._registry.register(
                AdapterCollector(self._reload, lambda: supervisor.restarts, clock=self._clock)
            )

            def apply(config: Config) -> None:
                supervisor.apply(config)
                self._metrics.set_derived(config.root.metrics)

            apply(self._config)
            api = await stack.enter_async_context(
                serve_api(
                    self._config.root.api, self._metrics, self._registry, kube=kube, warming=self._warming
                )
            )
            http = await self._serve_pages(stack, api)
            self._follow_configuration(stack, tasks, apply)
            log.info(
                "serving",
                version=ottoscaler.__version__,
                queues=len(self._config.queues),
                api=api.address,
                http=http.port,
            )
            async with kept_small(self._clock):
                await self._stop.wait()
            asyncio.get_running_loop().call_later(_LAST_MOMENT, _leave_now)
            log.info("stopping: not ready from now on, gone in a few seconds")
            api.begin_to_leave()
            await asyncio.sleep(0 if self._options.standalone else _NOTICE)
        log.info("stopped")

    async def _cluster(self, stack: AsyncExitStack) -> KubeClient | None:
        if self._options.standalone:
            return None
        try:
            return await stack.enter_async_context(await KubeClient.connect(self._options.kubeconfig))
        except KubeConfigError as error:
            raise StartError(f"{error}; without a cluster, run with --standalone") from error

    def _sharing(self, kube: KubeClient | None, tasks: "_Tasks") -> Sharing:
        if kube is None:
            return ALONE
        name = f"{self._config.root.api.service}-readings"
        replicas = Replicas(kube, namespace=kube.namespace, name=name, clock=self._clock)
        tasks.start(supervise(replicas.run, backoff=Backoff(), on_failure=_replicas_failed))
        return replicas

    def _context(self, sharing: Sharing) -> SourceContext:
        return SourceContext(
            clock=self._clock, environ=os.environ, count=self._readings.count, sharing=sharing
        )

    def _warming(self) -> str | None:
        """Right after the start a ready pod would answer 503 for queues that it is about to read."""
        if self._clock.monotonic() > self._started + _WARM_UP:
            return None
        unread = sum(state.reading is None and state.failure is None for state in self._readings)
        return f"waiting for the first look at {unread} queues" if unread else None

    async def _serve_pages(self, stack: AsyncExitStack, api: Api) -> HttpServer:
        host, port = split_address(self._config.root.http.address)
        if self._options.standalone:
            host = on_loopback(host)
        http = HttpServer(
            host,
            port,
            readings=self._readings,
            reload=self._reload,
            registry=self._registry,
            not_ready=api.not_ready,
            clock=self._clock,
        )
        try:
            return await stack.enter_async_context(http)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise StartError(f"http.address {host}:{port} cannot be served: {why}") from error

    def _follow_configuration(
        self, stack: AsyncExitStack, tasks: "_Tasks", apply: Callable[[Config], None]
    ) -> None:
        if self._options.config is None:
            return
        reloader = Reloader(
            self._config,
            path=self._options.config,
            environ=os.environ,
            apply=apply,
            status=self._reload,
            clock=self._clock,
        )
        tasks.start(reloader.run())
        stack.enter_context(_handlers({signal.SIGHUP: reloader.ask}))


class _Tasks:
    """Background work that ends, in the reverse order of its start, when the stack is left."""

    def __init__(self, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self._stack = stack
        self._group = group

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._stack.callback(self._group.create_task(work).cancel)


def _replicas_failed(error: Exception, delay: float) -> None:
    log.error("the replicas' agreement failed and is sought again", error=error, retry_in=round(delay, 1))


@contextmanager
def _handlers(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Signals mean these calls as long as the context lasts."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _leave_now() -> None:
    """Requests are finished by now; what is left is a thread in a blocking call, or a deaf source."""
    log.warning("something does not end: leaving it behind")
    os._exit(0)
