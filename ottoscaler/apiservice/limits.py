"""What one caller may take of the server, so that none can take all of it.

Seconds, bytes and numbers; the defaults suit an aggregator, an HPA controller and people.
"""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a listener and its connections."""

    connections: int = 1000
    """Open at a time; beyond it the one that has been idle longest is closed."""
    head_bytes: int = 128 * 1024
    """Request line and header fields together; more is a 431. (The Go servers take 1 MiB.)"""
    header_fields: int = 2048
    """A user may be in many groups, each a field of its own."""
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    """From a request's first byte, or the connection's start, to the end of its head."""
    idle_seconds: float = 120.0
    """Between requests. Longer than the 90 s after which Go clients drop an idle connection, so that
    they rather than we end it and no request meets a closing door."""
    answer_seconds: float = 10.0
    """For one request, permission included."""
    write_seconds: float = 20.0
    """For the caller to take what was written to it."""
    linger_seconds: float = 2.0
    """For the caller to read the last answer before the connection is torn down."""


DEFAULT_LIMITS = Limits()
