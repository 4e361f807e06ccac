"""`python -m tests.cluster.kubelet CLUSTERDIR NODE NODE_IP GATEWAY`, as root in the cluster's namespaces.

SIGTERM ends the kubelet and leaves its pods running, as a kubelet's restart does; they end with the
cluster's PID namespace.
"""

import asyncio
import contextlib
import signal
import sys

from ottoscaler.runtime.log import configure_logging, get_logger
from tests.cluster.kubelet.apiclient import NodeApiClient
from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.dns import DnsServer, Zone
from tests.cluster.kubelet.events import Events
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.inotify import DirectoryWatcher
from tests.cluster.kubelet.node import Node
from tests.cluster.kubelet.objects import Objects
from tests.cluster.kubelet.podset import PodSet
from tests.cluster.kubelet.probers import Probers
from tests.cluster.kubelet.runtime.client import RuntimeClient, RuntimeFailure
from tests.cluster.kubelet.server import KubeletServer
from tests.cluster.kubelet.services import Services
from tests.cluster.kubelet.settings import Settings, SettingsError

log = get_logger("kubelet")


class _Stopped(Exception):
    """Somebody asked the kubelet to end."""


async def run(settings: Settings) -> None:
    """Until a signal. Raises `RuntimeFailure` when the container runtime dies."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runtime = await RuntimeClient.connect(
        settings.node,
        [settings.gateway, settings.pod_cidr, str(settings.log_max_bytes), str(settings.log_max_files)],
        log=settings.cluster / "logs" / "container-runtime.log",
    )
    async with contextlib.AsyncExitStack() as open_things:
        api = await open_things.enter_async_context(NodeApiClient(settings))
        probers = await open_things.enter_async_context(Probers())
        watcher = open_things.enter_context(DirectoryWatcher())
        tasks = await open_things.enter_async_context(asyncio.TaskGroup())
        context = NodeContext(
            settings=settings,
            api=api,
            runtime=runtime,
            images=Images(settings.images),
            services=Services(api),
            objects=Objects(api, tasks),
            events=Events(api, settings.node),
            probers=probers,
        )
        pods = PodSet(context)
        zone = Zone(context.services, pods.endpoints, domain=settings.domain)
        dns, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: DnsServer(zone), local_addr=(settings.node_ip, 53)
        )
        open_things.callback(dns.close)
        server = KubeletServer(pods, context, watcher)
        open_things.push_async_callback(server.close)
        await server.start()
        for part in (
            runtime.listen,
            context.services.run,
            context.events.run,
            Node(api, settings).run,
            pods.run,
        ):
            tasks.create_task(part())
        await stop.wait()
        raise _Stopped


def main() -> int:
    configure_logging(level="info")
    try:
        settings = Settings.read(sys.argv[1:])
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    status = 0
    try:
        asyncio.run(run(settings))
    except* _Stopped:
        pass
    except* RuntimeFailure as failures:
        log.error("the container runtime failed", error=failures.exceptions[0])  # noqa: TRY400
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
