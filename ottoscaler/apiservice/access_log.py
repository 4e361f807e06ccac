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
_UNJUDGED_LINES, _UNJUDGED_SECONDS = 5, 10.0
_LONGEST = 500


class _LineLimit:
    """Admits `lines` in so many `seconds`, and then says how many more there were."""

    __slots__ = ("_admitted", "_complaint", "_dropped", "_lines", "_now", "_seconds", "_window")

    def __init__(self, lines: int, seconds: float, now: Callable[[], float], complaint: str) -> None:
        self._lines = lines
        self._seconds = seconds
        self._now = now
        self._complaint = complaint
        self._window = 0
        self._admitted = 0
        self._dropped = 0

    def admits(self) -> bool:
        window = int(self._now() / self._seconds)
        if window != self._window:
            if self._dropped:
                log.warning(self._complaint, dropped=self._dropped)
            self._window, self._admitted, self._dropped = window, 0, 0
        if self._admitted >= self._lines:
            self._dropped += 1
            return False
        self._admitted += 1
        return True


class AccessLog:
    """Writes one line for a request that `policy` cares about; `now` is a monotonic clock."""

    __slots__ = ("_limit", "_policy", "_unjudged")

    def __init__(self, policy: AccessPolicy, now: Callable[[], float]) -> None:
        self._policy = policy
        self._limit = _LineLimit(_LINES_A_SECOND, 1.0, now, "requests were not logged: too many a second")
        self._unjudged = _LineLimit(
            _UNJUDGED_LINES, _UNJUDGED_SECONDS, now, "more requests could not be judged"
        )

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
        if self._policy != "all" and not self._limit.admits():
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

    def unjudged(self, error: Exception) -> None:
        """Says, whatever the policy, why nobody could tell who asks or what they may: a few times."""
        if self._unjudged.admits():
            log.warning("a request could not be judged", error=error)
