"""Failures on purpose: what a network, a proxy, an expired token or a bad release does to an answer.

A fault waits until a request (or a running stream) matches it, happens, and is used up.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Where = Literal["any", "read", "write", "stream", "running"]
"""`stream` is the opening of an event stream; `running` one that is already open."""
What = Literal[
    "status",  # answer with `status` and `body`
    "delay",  # answer `seconds` late
    "reset",  # reset the connection instead of answering; in a running stream, at once
    "truncated",  # promise the whole answer, send half of it, then reset
    "silent",  # accept the request and never answer; a running stream stays open and says nothing
    "drip",  # send the answer one byte each `seconds`
    "garbage",  # bytes that are no JSON, with status 200
    "redirect",  # 307 to `location`
    "end",  # a running stream ends in good order
    "send",  # a running stream sends `body` as it is
]
NEED_A_BODY = frozenset({"truncated", "drip"})
"""What can happen only to an answer that has something in it: not to a 304, and not to `null`."""
GARBAGE = b'\x00\xff{"a":[1,2,}}<html>not json</html>\n\n'


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One failure."""

    what: What
    where: Where = "any"
    status: int = 503
    body: str = '{"error":"Service temporarily unavailable"}'
    seconds: float = 0.05
    location: str = ""
    headers: Mapping[str, str] = {}
    path: str | None = None
    """Only requests for this path; None: for any."""


class Faults:
    """Faults that wait for their request, first come first served."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self.happened = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, *faults: Fault) -> None:
        """Queues faults of requests still to come."""
        self._waiting.extend(faults)

    def put_back(self, fault: Fault) -> None:
        """It met an answer that it cannot happen to, and waits for the next."""
        self.happened -= 1
        self._waiting.insert(0, fault)

    def waiting(self, path: str) -> int:
        """How many of one path have not happened."""
        return sum(fault.path == path for fault in self._waiting)

    def drop(self, path: str) -> None:
        """Forgets those of one path that did not happen."""
        self._waiting = [fault for fault in self._waiting if fault.path != path]

    def clear(self) -> None:
        """Forgets those that did not happen."""
        self._waiting.clear()

    def take(self, where: Where, path: str) -> Fault | None:
        """The first fault that this request matches; it is used up."""
        for index, fault in enumerate(self._waiting):
            if fault.where in ("any", where) and fault.path in (None, path):
                self.happened += 1
                return self._waiting.pop(index)
        return None


def cancel_frame() -> bytes:
    """Sent when the rules no longer allow the stream."""
    return b"event: cancel\ndata: null\n\n"


def auth_revoked_frame() -> bytes:
    """Sent when the credential of the stream is no longer valid."""
    return b"event: auth_revoked\ndata: credential is no longer valid\n\n"
