"""The orchestrator's process: everything that runs in it, from the first line to SIGTERM.

every replica   gRPC, events of the stream, the watch of workers and of runs, status pages
the leader      quota, logs and word to the handler, removal, pipelines, claims
"""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from ottoscaler.orchestrator.config.load import load
from ottoscaler.orchestrator.config.model import Root
from ottoscaler.orchestrator.kube_api import Kube
from ottoscaler.orchestrator.orchestrator import Orchestrator
from ottoscaler.orchestrator.service.server import CannotServe
from ottoscaler.runtime.clock import SYSTEM_CLOCK
from ottoscaler.runtime.config import ConfigError
from ottoscaler.runtime.kube import KubeClient
from ottoscaler.runtime.kubeconfig import KubeConfigError
from ottoscaler.runtime.log import configure_logging, get_logger
from ottoscaler.runtime.memory import kept_small

log = get_logger("orchestrator")

__all__ = ["ConfigError", "StartError", "run"]


class StartError(Exception):
    """The process cannot start; one line that says what to do."""


async def run(config: Path | None, *, kubeconfig: Path | None, identity: str | None) -> None:
    """Serves until SIGTERM or SIGINT. Raises `ConfigError` or `StartError`."""
    settings = load(config, os.environ)
    configure_logging(level=settings.log.level, format=settings.log.format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        kube = await _kube(stack, settings, kubeconfig)
        try:
            async with (
                Orchestrator(
                    settings,
                    kube=kube,
                    identity=identity or own_identity(os.environ),
                    environ=os.environ,
                    clock=SYSTEM_CLOCK,
                ),
                kept_small(SYSTEM_CLOCK),
            ):
                await stop.wait()
        except CannotServe as error:
            raise StartError(str(error)) from error
    log.info("stopped")


def own_identity(environ: Mapping[str, str]) -> str:
    """The pod's name, which is the host's name in a pod: a restarted container goes on as itself."""
    return environ.get("POD_NAME") or socket.gethostname()


async def _kube(stack: AsyncExitStack, settings: Root, kubeconfig: Path | None) -> Kube:
    if settings.mock:
        from ottoscaler.orchestrator.mock.cluster import MockCluster

        return await stack.enter_async_context(MockCluster())
    try:
        return await stack.enter_async_context(await KubeClient.connect(kubeconfig))
    except KubeConfigError as error:
        raise StartError(str(error)) from error
