"""A Redis for the demo on machines that have none: fakeredis behind a socket.

It knows what the demo needs and no more: the tests run on the real server.
"""

import socket

from fakeredis import TcpFakeServer
from fakeredis._clients._tcp_server import TCPFakeRequestHandler


class _Connection(TCPFakeRequestHandler):
    """fakeredis ends a connection with its first error reply, where Redis goes on to the next command."""

    def handle(self) -> None:
        super().handle()
        while not self.server._shutdown_event.is_set() and self._is_open():
            super().handle()

    def _is_open(self) -> bool:
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False


class EmbeddedRedis(TcpFakeServer):
    """Serves until `shutdown`, in the thread that calls `serve_forever`."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, server_type="redis")
        self.RequestHandlerClass = _Connection
