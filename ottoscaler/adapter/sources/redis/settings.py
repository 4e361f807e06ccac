"""The `redis` block of a queue.

```yaml
redis: {url: "rediss://redis:6379/0", username: adapter, passwordFile: /etc/redis/password,
        stream: otto:scale:events, group: ottoscaler}
redis: {url: "redis://redis", lists: {waiting: [celery]}}
redis: {url: "redis://s1:26379,s2:26379", sentinel: {master: main}, stream: jobs, group: workers}
redis: {url: "redis://n1:6379,n2:6379", cluster: true, stream: jobs, group: workers}
```
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ottoscaler.runtime.redis import RedisConnection

Key = Annotated[str, Meta(min_length=1, max_length=1024)]


class RedisLists(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lists whose lengths are the counts."""

    waiting: Annotated[tuple[Key, ...], Meta(min_length=1, max_length=100)]
    processing: Annotated[tuple[Key, ...], Meta(max_length=100)] = ()

    def __post_init__(self) -> None:
        keys = (*self.waiting, *self.processing)
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(f"{twice[:80]!r} is named twice: its jobs would be counted twice")


class RedisSettings(RedisConnection, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A stream with a consumer group, or lists, on one Redis."""

    stream: Key | None = None
    group: Key | None = None
    missing: Literal["error", "empty", "create"] = "error"
    """What a missing stream or group means: a failure; nothing waits (a stream without the group: all of
    it); or that it shall be created, reading from the stream's beginning."""
    count_limit: Annotated[
        int, Meta(ge=100, le=1_000_000, description="Entries to count one by one, where nothing else helps.")
    ] = 10_000
    lists: RedisLists | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.stream is None) == (self.lists is None):
            raise ValueError("give either stream (with its group) or lists")
        if self.stream is not None and self.group is None:
            raise ValueError("group is missing: name the consumer group that works the stream")
        if self.lists is not None:
            if self.group is not None:
                raise ValueError("group belongs to a stream, not to lists")
            if self.missing != "error":
                raise ValueError("missing belongs to a stream: a list that is missing is empty")
            self._check_slots(self.lists)

    def _check_slots(self, lists: RedisLists) -> None:
        if self.cluster:
            tags = {_hash_tag(key) for key in (*lists.waiting, *lists.processing)}
            if len(tags) > 1:
                raise ValueError(
                    "lists of one queue must live in one slot of the Cluster, or a job that moves between them "
                    "is lost or counted twice: give their names the same {hash tag}"
                )

    @property
    def key(self) -> bytes:
        """A key of the queue: a Cluster finds the node by it."""
        name = self.stream if self.lists is None else self.lists.waiting[0]
        return (name or "").encode()

    def connection(self) -> RedisConnection:
        """What queues must have in common to share a connection."""
        fields = msgspec.structs.fields(RedisConnection)
        return RedisConnection(**{field.name: getattr(self, field.name) for field in fields})


def _hash_tag(key: str) -> str:
    """The part of a key that decides its slot (Redis Cluster specification, "hash tags")."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key
