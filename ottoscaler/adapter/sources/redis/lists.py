"""Queues that are Redis lists: BullMQ, Celery, Sidekiq, Resque and what people build by LPUSH and BLMOVE.

A job waits in one of the `waiting` lists and, where the library moves it there, is in work in one of the
`processing` lists. Redis removes a list that becomes empty, so a missing one is an empty one. The lengths
are taken in one transaction: a job that moves from one list to the other is counted once.

docs/configuration.md lists the rights that an ACL user needs.
"""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from ottoscaler.adapter.reading import ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue
from ottoscaler.adapter.sources.redis import problems
from ottoscaler.adapter.sources.redis.settings import RedisLists, RedisSettings
from ottoscaler.adapter.sources.redis.snapshot import Malformed
from ottoscaler.adapter.sources.redis.survey import Command, Moment


class ListSurvey:
    """Counts the lists of one queue; see `Survey`."""

    def __init__(self, queue: Queue[RedisSettings]) -> None:
        self._lists = queue.settings.lists or RedisLists(waiting=())
        self._queue = queue.name
        self._keys = (*self._lists.waiting, *self._lists.processing)

    def begin(self) -> list[Command]:
        return [("LLEN", key) for key in self._keys]

    def take(
        self, replies: Sequence[Any], moment: Moment, *, final: bool
    ) -> Reading | ReadFailure | list[Command]:
        if len(replies) != len(self._keys):
            raise Malformed("not as many replies as commands")
        for reply in replies:
            if isinstance(reply, RedisError):
                problem = problems.of_queue(reply)
                return ReadFailure(
                    queue=self._queue,
                    at=moment.sent,
                    reason=problem.reason,
                    detail=problem.detail,
                    code=problem.code,
                )
            if type(reply) is not int or reply < 0:
                raise Malformed("a length that is no number")
        split = len(self._lists.waiting)
        return Reading(
            queue=self._queue,
            measured_at=moment.sent,
            waiting=sum(replies[:split]),
            processing=sum(replies[split:]),
            took=moment.took,
        )
