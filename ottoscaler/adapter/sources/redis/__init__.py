"""Redis Streams and lists, on a single server, behind Sentinel, or in a Cluster.

This module is what the registry imports to judge a configuration; the client library comes with the first
source.
"""

from collections.abc import Hashable
from typing import ClassVar

from ottoscaler.adapter.sources.base import Source, SourceContext
from ottoscaler.adapter.sources.redis.settings import RedisSettings


class RedisBackend:
    """The block `redis`; see `Backend`."""

    block: ClassVar[str] = "redis"
    settings = RedisSettings

    def kind(self, settings: RedisSettings) -> str:
        return "redis-stream" if settings.stream is not None else "redis-list"

    def connection(self, settings: RedisSettings) -> Hashable:
        return settings.connection()

    def source(self, settings: RedisSettings, context: SourceContext) -> Source:
        from ottoscaler.adapter.sources.redis.source import RedisSource  # the client library: 7 MB, 60 ms

        return RedisSource(settings.connection(), context)


BACKEND = RedisBackend()
