"""The access log: who asked what, and what they got.

By default only what somebody may want to look into (refused callers, failures of ours, slow answers), at
most a few lines a second: a log that a stranger can fill is a fault of its own.
"""

from collections.abc import Callable
from typing import Literal

from ottoscaler.apiservice.identity import Headers
from ottoscaler.runtime.log import get_logger

log = get_logger("access")

AccessPolicy = Literal["all", "failures", "none"]

_SLOW = 1.0
_LINES_A_SECOND = 20
_LONGEST = 500


class AccessLog:
    """Writes one line for a request that `policy` cares about; `now` is a monotonic clock."""

    __slots__ = ("_dropped", "_lines", "_now", "_policy", "_second")

    def __init__(self, policy: AccessPolicy, now: Callable[[], float]) -> None:
        self._policy = policy
        self._now = now
        self._second = 0
        self._lines = 0
        self._dropped = 0

    def wants(self, status: int, seconds: float) -> bool:
        """Whether the policy cares about such an answer."""
        if self._policy == "failures":
            # a 503 is the provider's, whose source has a log of its own: an HPA asks again and again
            return status in (401, 403, 500, 504) or seconds >= _SLOW
        return self._policy == "all"

    def write(
        self,
        *,
        method: str,
        target: str,
        status: int,
        seconds: float,
        user: str,
        remote: str,
        headers: Headers,
    ) -> None:
        """Writes the line, or counts it when there were too many."""
        if not self._admitted():
            return
        audit = headers.get("Audit-Id")
        write = log.warning if status >= 500 else log.info
        write(
            "request",
            method=method,
            target=ascii(target[:_LONGEST])[1:-1],
            status=status,
            milliseconds=round(seconds * 1000, 3),
            user=user[:_LONGEST],
            remote=remote,
            **({"audit_id": audit[:64]} if audit else {}),
        )

    def _admitted(self) -> bool:
        if self._policy == "all":
            return True
        second = int(self._now())
        if second != self._second:
            if self._dropped:
                log.warning("requests were not logged: too many a second", dropped=self._dropped)
            self._second, self._lines, self._dropped = second, 0, 0
        self._lines += 1
        if self._lines > _LINES_A_SECOND:
            self._dropped += 1
            return False
        return True
