"""What carries HTTP: TLS over TCP, or TCP alone on the loopback interface.

TLS is spoken here, on memory buffers, with the standard library's `ssl.SSLObject` on a plain TCP
transport: half the CPU of the event loop's own TLS layer, a few kilobytes instead of a quarter megabyte
of buffer for a connection, and the first bytes are seen, so that plain HTTP on a TLS port gets an answer
that a person understands (docs/decisions/0021).
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Protocol, cast

from ottoscaler.apiservice.date import date_line
from ottoscaler.apiservice.http_connection import HttpConnection, Service
from ottoscaler.apiservice.identity import Connection
from ottoscaler.apiservice.response import text_response
from ottoscaler.runtime.log import get_logger

log = get_logger("apiservice")

_SLICE = 16 * 1024
"""Bytes that are handed to OpenSSL at a time: its buffers never shrink."""
_RECORD = 16 * 1024
"""The most that one TLS record holds."""
_TLS_HANDSHAKE = 0x16
_PLAIN_HTTP = text_response(400, "Client sent an HTTP request to an HTTPS server.\n")


class Tls(Protocol):
    """Where the server's TLS comes from; `ServerTls` is one."""

    context: ssl.SSLContext

    def connection(self, tls: ssl.SSLObject | ssl.SSLSocket, *, remote: str = "") -> Connection:
        """What a finished handshake proved about the peer."""
        ...


class Registry(Service, Protocol):
    """A service that also keeps account of its connections."""

    def opened(self, channel: "PlainChannel") -> None: ...

    def closed(self, channel: "PlainChannel") -> None: ...


class PlainChannel(asyncio.Protocol):
    """HTTP on a bare socket."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._http: HttpConnection | None = None
        self._discards = False
        self._until = registry.now() + registry.limits.handshake_seconds

    @property
    def deadline(self) -> float:
        """When `expire` is to be called."""
        return self._until if self._http is None else self._http.deadline

    @property
    def idle(self) -> bool:
        """Whether it can be closed without anybody missing it: it waits for bytes."""
        return self._http is None or self._http.idle

    # From the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._registry.opened(self)
        self._begin()

    def _begin(self) -> None:
        self._http = HttpConnection(self._registry, self, Connection(remote=self._remote()))

    def data_received(self, data: bytes) -> None:
        if not self._discards and self._http is not None:
            self._http.feed(data)

    def eof_received(self) -> None:
        """Half a connection is none: the transport closes itself."""

    def connection_lost(self, _error: Exception | None) -> None:
        self._registry.closed(self)
        self._discards = True
        if self._http is not None:
            self._http.lost()
            self._http = None  # each holds the other: without this only the garbage collector frees them

    def pause_writing(self) -> None:
        if self._http is not None:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        if self._http is not None:
            self._http.resume_writing()

    # From HTTP

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._discards = True
        self._transport.close()

    def linger(self) -> None:
        self._discards = True
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        self._discards = True
        self._transport.abort()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    # From the registry

    def expire(self) -> None:
        """The deadline has passed."""
        if self._http is None:
            self.abort()
        else:
            self._http.expire()

    def finish(self) -> None:
        """The service is leaving."""
        if self._http is None:
            self.abort()
        else:
            self._http.finish()

    def _remote(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""


class TlsChannel(PlainChannel):
    """HTTP in TLS."""

    def __init__(self, registry: Registry, tls: Tls) -> None:
        super().__init__(registry)
        self._source = tls
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._started = False

    def _begin(self) -> None:
        """HTTP begins after the handshake."""

    def data_received(self, data: bytes) -> None:
        if self._discards:
            return
        if not self._started:
            self._started = True
            if data[0] != _TLS_HANDSHAKE and data[:1].isalpha():
                self._explain()
                return
        if len(data) <= _SLICE:
            self._take(data)
            return
        for start in range(0, len(data), _SLICE):
            self._take(data[start : start + _SLICE])

    def _take(self, data: bytes) -> None:
        if self._discards:
            return
        self._incoming.write(data)
        if self._http is not None or self._shake_hands():
            self._read()

    def _explain(self) -> None:
        self._transport.write(
            _PLAIN_HTTP.head + date_line() + b"Connection: close\r\n\r\n" + _PLAIN_HTTP.body
        )
        self._registry.refused(400)
        super().linger()

    def _shake_hands(self) -> bool:
        """Goes on with the handshake; True when HTTP can begin."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            log.debug("no TLS connection", remote=self._remote(), reason=reason)
            self._flush()  # OpenSSL has left the alert there
            self.linger()
            return False
        self._flush()
        self._http = HttpConnection(
            self._registry, self, self._source.connection(self._tls, remote=self._remote())
        )
        return True

    def _read(self) -> None:
        """Decrypts what has come, record by record."""
        http = self._http
        if http is None:
            return
        incoming = self._incoming
        try:
            while not self._discards:
                data = self._tls.read(_RECORD)
                if not data:  # close_notify
                    self.close()
                    return
                http.feed(data)
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            log.debug("TLS connection failed", remote=self._remote(), reason=error.reason)
            self._flush()
            self.abort()
            return
        if self._outgoing.pending and not self._discards:
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._transport.write(self._outgoing.read())

    def write(self, data: bytes) -> None:
        try:
            written = self._tls.write(data)
            while written < len(data):  # a record at a time
                written += self._tls.write(memoryview(data)[written:])
        except ssl.SSLError as error:
            log.debug("TLS connection failed", remote=self._remote(), reason=error.reason)
            self.abort()
            return
        self._transport.write(self._outgoing.read())

    def close(self) -> None:
        self._notify()
        super().close()

    def linger(self) -> None:
        self._notify()
        super().linger()

    def _notify(self) -> None:
        """Says that nothing more will be written (close_notify), which tells the end from a cut."""
        if self._http is None:
            return
        with suppress(ssl.SSLError):  # the peer has not said so itself yet
            self._tls.unwrap()
        self._flush()
