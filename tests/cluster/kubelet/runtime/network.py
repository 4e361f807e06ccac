"""A network namespace for each pod: a veth pair with /32 routes, and the addresses to give away.

A namespace lives as long as the descriptor that the runtime holds on it and the processes in it, so
there is no pause process, no bind mount and nothing to clean up: closing the descriptor takes the
veth pair and the host's route with it.
"""

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import subprocess
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

CLONE_NEWNET = 0x40000000
_OWN_NETWORK = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """A pod's network could not be made; the message is that of `ip` or of the kernel."""


class PodNetworks:
    """Hands out addresses and namespaces. `cidr` holds every pod address; `gateway` is the node's end."""

    def __init__(self, *, cidr: str, gateway: str) -> None:
        network = ipaddress.IPv4Network(cidr, strict=False)
        self._free = deque(str(host) for host in network.hosts() if str(host) != gateway)
        self._gateway = gateway
        self._namespaces: dict[str, int] = {}
        # Namespaces are entered by thread: these threads do nothing else and always come back.
        self._threads = ThreadPoolExecutor(2, "network")

    async def create(self) -> str:
        """The address of a new namespace. Raises `NetworkError`."""
        if not self._free:
            raise NetworkError("no pod address is left in the node's range")
        address = self._free.popleft()
        try:
            loop = asyncio.get_running_loop()
            self._namespaces[address] = await loop.run_in_executor(self._threads, self._make, address)
        except BaseException:
            self._free.append(address)
            raise
        return address

    def path(self, address: str) -> str:
        """Where `nsenter` finds the namespace."""
        return f"/proc/{os.getpid()}/fd/{self._namespaces[address]}"

    def release(self, address: str) -> None:
        """Gives the address back, to be used again last of all."""
        os.close(self._namespaces.pop(address))
        self._free.append(address)

    def _make(self, address: str) -> int:
        device = f"veth{int(ipaddress.IPv4Address(address)):08x}"
        with ExitStack() as undo:
            host = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, host)
            try:
                _check(_libc.unshare(CLONE_NEWNET), "unshare")
                inside = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
                made = undo.enter_context(ExitStack())
                made.callback(os.close, inside)
                # Children start in the namespace of the thread that starts them.
                _ip(
                    f"link set lo up\n"
                    f"link add eth0 type veth peer name {device} netns /proc/{os.getpid()}/fd/{host}\n"
                    f"link set eth0 up\n"
                    f"addr add {address}/32 dev eth0\n"
                    f"route add {self._gateway} dev eth0 scope link\n"
                    f"route add default via {self._gateway}\n"
                )
                _allow_low_ports()
            finally:
                _check(_libc.setns(host, CLONE_NEWNET), "setns")
            _ip(f"link set {device} up\nroute add {address}/32 dev {device} src {self._gateway}\n")
            made.pop_all()
        return inside


def _allow_low_ports() -> None:
    """Container runtimes let any user bind ports below 1024 inside a pod."""
    with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as low:  # noqa: PTH123
        low.write("0")


def _ip(commands: str) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input=commands, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"ip: {done.stderr.strip()[:500]}")


def _check(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise NetworkError(f"{what}: {os.strerror(error)}")
