"""`python -m tests.cluster.kubelet.runtime NODE GATEWAY POD_CIDR LOG_MAX_BYTES LOG_MAX_FILES`

Started by the kubelet when none answers; ends with the cluster's PID namespace, or on SIGTERM.
"""

import asyncio
import signal
import sys

from tests.cluster.kubelet.runtime.network import PodNetworks
from tests.cluster.kubelet.runtime.protocol import socket_address
from tests.cluster.kubelet.runtime.server import Runtime


async def main() -> None:
    node, gateway, cidr, max_bytes, max_files = sys.argv[1:6]
    runtime = Runtime(
        PodNetworks(cidr=cidr, gateway=gateway), log_max_bytes=int(max_bytes), log_max_files=int(max_files)
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await runtime.serve(socket_address(node), stop)


asyncio.run(main())
