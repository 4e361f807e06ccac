"""Asking the API server to judge: TokenReviews and SubjectAccessReviews.

A review changes nothing, so it may be repeated: an API server that restarts, or a kept-alive connection
that died, costs a delay and not an error. Everything is bounded: the time an answer may take in all, and
how many reviews run at once, so that a flood of bad tokens cannot become a flood of reviews.
"""

import asyncio
import random
from typing import Any, Protocol

from ottoscaler.apiservice.security_metrics import ReviewKind, SecurityMetrics
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.tasks import Backoff

_REFUSED_SECONDS = 1.0
"""For which a refusal of this process itself stands: it would be the same for whoever asks next."""
_RETRYABLE = frozenset({0, 408, 429, 500, 502, 503, 504})
_PATHS: dict[ReviewKind, str] = {
    "token": "/apis/authentication.k8s.io/v1/tokenreviews",
    "access": "/apis/authorization.k8s.io/v1/subjectaccessreviews",
}
_KINDS: dict[ReviewKind, dict[str, str]] = {
    "token": {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"},
    "access": {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"},
}


class ReviewError(Exception):
    """There was no answer; the text says why, without anything from the request."""


class ReviewClient(Protocol):
    """The part of `KubeClient` that reviews need."""

    async def create(self, path: str, body: Any) -> Any: ...


class Reviewer:
    """Sends one kind of review."""

    def __init__(
        self,
        client: ReviewClient,
        kind: ReviewKind,
        *,
        metrics: SecurityMetrics,
        deadline: float = 5.0,
        at_once: int = 32,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._kind = kind
        self._metrics = metrics
        self._deadline = deadline
        """Seconds for an answer, repetitions and waiting for a free place included."""
        self._places = asyncio.Semaphore(at_once)
        self._clock = clock
        self._refused: str | None = None
        self._refused_until = 0.0

    async def __call__(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The `status` that the API server gives to `spec`. Raises `ReviewError`."""
        last: list[KubeError] = []
        try:
            async with asyncio.timeout(self._deadline), self._places:
                if self._refused is not None and self._clock.monotonic() < self._refused_until:
                    raise ReviewError(self._refused)
                return await self._repeat({**_KINDS[self._kind], "spec": spec}, last)
        except TimeoutError as error:
            reason = last[-1].message if last else "no answer"
            raise ReviewError(
                f"the API server gave no {_KINDS[self._kind]['kind']} within {self._deadline:g} s: {reason}"
            ) from error

    async def _repeat(self, body: dict[str, Any], seen: list[KubeError]) -> dict[str, Any]:
        delays = Backoff(initial=0.1, maximum=2.0, rng=random.Random())  # noqa: S311 - spreads retries
        while True:
            try:
                return await self._once(body)
            except KubeError as error:
                if error.status not in _RETRYABLE:
                    raise ReviewError(self._refusal(error)) from error
                seen.append(error)
                await asyncio.sleep(max(delays.next(), error.retry_after or 0.0))

    async def _once(self, body: dict[str, Any]) -> dict[str, Any]:
        started = self._clock.monotonic()
        code = "error"
        try:
            answer = await self._client.create(_PATHS[self._kind], body)
            status = answer.get("status") if isinstance(answer, dict) else None
            if not isinstance(status, dict):
                raise ReviewError(f"the API server's {body['kind']} has no status")
            code = "201"
        except KubeError as error:
            code = str(error.status) if error.status else "error"
            raise
        except UnicodeEncodeError as error:
            raise ReviewError("the question holds bytes that are no text") from error
        except asyncio.CancelledError:
            code = "timeout"
            raise
        else:
            return status
        finally:
            self._metrics.review(self._kind, code, self._clock.monotonic() - started)

    def _refusal(self, error: KubeError) -> str:
        kind = _KINDS[self._kind]["kind"]
        if error.status in (401, 403):
            self._refused = (
                f"the API server refuses {kind}s to this process ({error.status}): bind the ClusterRole "
                "system:auth-delegator to its service account"
            )
            self._refused_until = self._clock.monotonic() + _REFUSED_SECONDS
            return self._refused
        return f"the API server refuses a {kind}: {error.status} {error.reason}"
