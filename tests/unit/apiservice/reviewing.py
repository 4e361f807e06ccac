"""An API server's review endpoint whose answers, delays and outages a test decides (the real one is asked
in tests/cluster)."""

import asyncio
from collections.abc import Callable
from typing import Any

from ottoscaler.runtime.kube import KubeError


class Reviews:
    """Answers each review by `answer(spec)`, after `delay` seconds; raises `error` while it is set."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.answer = answer
        self.delay = 0.0
        self.error: KubeError | None = None
        self.asked: list[dict[str, Any]] = []
        self.cancelled = 0
        self.at_once = 0
        self.most_at_once = 0

    async def create(self, path: str, body: Any) -> Any:
        assert path.endswith(f"{body['kind'].lower()}s")
        self.asked.append(body["spec"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return {**body, "status": self.answer(body["spec"])}


UNREACHABLE = KubeError(status=0, reason="Unreachable", message="connection refused")
FORBIDDEN = KubeError(status=403, reason="Forbidden", message="not you")
BUSY = KubeError(status=429, reason="TooManyRequests", message="later", retry_after=1.0)
