"""Redis Streams and lists, on a single server, behind Sentinel, or in a Cluster.

This module is what the registry imports to judge a configuration; the client library comes with the first
source.
"""

from collections.abc import Hashable
from typing import ClassVar

from ottoscaler.adapter.sources.base import JobState, Source, SourceContext
from ottoscaler.adapter.sources.redis.settings import RedisSettings


class RedisBackend:
    """The block `redis`; see `Backend`."""

    block: ClassVar[str] = "redis"
    settings = RedisSettings

    def kind(self, settings: RedisSettings) -> str:
        return "redis-stream" if settings.stream is not None else "redis-list"

    def uncounted(self, settings: RedisSettings) -> frozenset[JobState]:
        """Redis keeps no failed jobs, and of a list's entries only where they are."""
        if settings.lists is None:
            return frozenset({"failed", "other"})
        neither: frozenset[JobState] = frozenset({"stalled", "failed", "other"})
        return neither if settings.lists.processing else neither | {"processing"}

    def connection(self, settings: RedisSettings) -> Hashable:
        return settings.connection()

    def source(self, settings: RedisSettings, context: SourceContext) -> Source:
        from ottoscaler.adapter.sources.redis.source import RedisSource  # the client library: 7 MB, 60 ms

        return RedisSource(settings.connection(), context)


BACKEND = RedisBackend()
