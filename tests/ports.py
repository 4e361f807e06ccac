"""Ports for servers that tests start, which cannot choose one by themselves.

A port that the kernel gave away and took back may be the local end of somebody's connection before the server
has it. Those come from a range of their own (32768 and up, `ip_local_port_range`), so these lie below it; and
those of a Redis Cluster's bus, which adds 10000, do too.
"""

import contextlib
import random
import socket

_FIRST, _LAST, _BUS = 12_000, 22_000, 10_000
_CHOICE = random.SystemRandom()


def free_port() -> int:
    """A port of loopback that nothing listens on, nor on the one of its bus."""
    while True:
        port = _CHOICE.randrange(_FIRST, _LAST)
        with contextlib.suppress(OSError):
            for each in (port, port + _BUS):
                _bind(each)
            return port


def _bind(port: int) -> None:
    """Raises `OSError` when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
