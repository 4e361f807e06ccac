"""A consumer group of a Redis Stream: what waits, what is in work, and who holds it.

INFO is never called; docs/configuration.md lists the rights that an ACL user needs.
"""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from ottoscaler.adapter.reading import Held, ReadFailure, Reading
from ottoscaler.adapter.sources.base import Queue
from ottoscaler.adapter.sources.redis import problems
from ottoscaler.adapter.sources.redis.backlog import Ahead, Backlog, Waiting, Walk
from ottoscaler.adapter.sources.redis.ids import format_id, seconds_of
from ottoscaler.adapter.sources.redis.pending import (
    NOTHING,
    Exists,
    Ghosts,
    Listing,
    Look,
    Pending,
    Processing,
)
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.adapter.sources.redis.snapshot import (
    GroupInfo,
    Malformed,
    StreamInfo,
    parse_entry_ids,
    parse_group,
    parse_held,
    parse_stream,
    parse_summary,
)
from ottoscaler.adapter.sources.redis.survey import Command, Moment

_NO_STREAM = "no such key"
_GROUP_EXISTS = "BUSYGROUP"


class StreamSurvey:
    """Counts one group of one stream; see `Survey`."""

    def __init__(self, queue: Queue[RedisSettings]) -> None:
        settings = queue.settings
        self._queue = queue.name
        self._stream = settings.stream or ""
        self._group = settings.group or ""
        self._missing = settings.missing
        self._backlog = Backlog(limit=settings.count_limit)
        self._pending = Pending(limit=settings.count_limit, stalled_after=queue.stalled_after)
        self._walks: list[Walk] = []
        self._looks: list[Look] = []
        self._creating = False

    def begin(self) -> list[Command]:
        self._creating = False
        self._walks, self._looks = self._backlog.begin(), self._pending.begin()
        return self._commands()

    def take(
        self, replies: Sequence[Any], moment: Moment, *, final: bool
    ) -> Reading | ReadFailure | list[Command]:
        replies = list(replies)
        if self._creating:
            created = replies.pop(0)
            if isinstance(created, RedisError) and not str(created).startswith(_GROUP_EXISTS):
                return self._failed(problems.of_queue(created), moment)
        if len(replies) != 3 + len(self._walks) + len(self._looks):
            raise Malformed("not as many replies as commands")
        stream_reply, groups_reply, summary_reply, *rest = replies
        if isinstance(stream_reply, RedisError):
            return self._without_stream(stream_reply, moment, final=final)
        stream = parse_stream(stream_reply)
        if isinstance(groups_reply, RedisError):
            return self._failed(problems.of_queue(groups_reply), moment)
        group = parse_group(groups_reply, self._group.encode())
        if group is None:
            return self._without_group(stream, moment, final=final)
        if error := next((reply for reply in (summary_reply, *rest) if isinstance(reply, RedisError)), None):
            return self._failed(problems.of_queue(error), moment)
        waiting, processing = self._count(stream, group, summary_reply, rest, final=final)
        if waiting is None or processing is None:
            self._walks = [] if waiting is not None else self._backlog.walks()
            self._looks = [] if processing is not None else self._pending.looks()
            return self._commands()
        return self._reading(waiting, processing, moment)

    def _count(
        self, stream: StreamInfo, group: GroupInfo, summary_reply: Any, rest: Sequence[Any], *, final: bool
    ) -> tuple[Waiting | None, Processing | None]:
        self._backlog.observe(stream, group)
        self._pending.observe(stream, parse_summary(summary_reply))
        for walk, reply in zip(self._walks, rest, strict=False):
            self._backlog.learn(walk, parse_entry_ids(reply))
        for look, reply in zip(self._looks, rest[len(self._walks) :], strict=True):
            match look:
                case Listing():
                    self._pending.learn_list(look, parse_held(reply))
                case Ghosts():
                    self._pending.learn_ghosts(look, parse_held(reply))
                case Exists():
                    self._pending.learn_exists(look, parse_entry_ids(reply))
        return self._backlog.waiting(final=final), self._pending.processing(final=final)

    def _commands(self) -> list[Command]:
        key, group = self._stream, self._group
        commands: list[Command] = [
            ("XINFO", "STREAM", key),
            ("XINFO", "GROUPS", key),
            ("XPENDING", key, group),
        ]
        if self._creating:
            commands.insert(0, ("XGROUP", "CREATE", key, group, "0", "MKSTREAM"))
        commands.extend(self._walk_command(walk) for walk in self._walks)
        commands.extend(self._look_command(look) for look in self._looks)
        return commands

    def _walk_command(self, walk: Walk) -> Command:
        if isinstance(walk, Ahead):
            after = "-" if walk.after is None else f"({format_id(walk.after)}"
            return ("XRANGE", self._stream, after, "+", "COUNT", walk.most)
        start = "+" if walk.start is None else format_id(walk.start)
        return ("XREVRANGE", self._stream, start, f"({format_id(walk.after)}", "COUNT", walk.most)

    def _look_command(self, look: Look) -> Command:
        match look:
            case Listing(start, most):
                return ("XPENDING", self._stream, self._group, format_id(start), "+", most)
            case Ghosts(before, most):
                return ("XPENDING", self._stream, self._group, "-", f"({format_id(before)}", most)
            case Exists(entry):
                return ("XRANGE", self._stream, format_id(entry), format_id(entry))

    def _without_stream(
        self, error: RedisError, moment: Moment, *, final: bool
    ) -> Reading | ReadFailure | list[Command]:
        if _NO_STREAM not in str(error):
            return self._failed(problems.of_queue(error), moment)
        match self._missing:
            case "empty":
                return self._reading(Waiting(0, lower_bound=False, oldest=None), NOTHING, moment)
            case "create" if not final and not self._creating:
                return self._create()
        return self._failed(problems.Problem("missing", "the stream does not exist"), moment)

    def _without_group(
        self, stream: StreamInfo, moment: Moment, *, final: bool
    ) -> Reading | ReadFailure | list[Command]:
        match self._missing:
            case "empty":  # its consumers will create it at 0, so everything waits
                waiting = Waiting(stream.length, lower_bound=False, oldest=stream.first)
                return self._reading(waiting, NOTHING, moment)
            case "create" if not final and not self._creating:
                return self._create()
        return self._failed(problems.Problem("missing", "the stream has no such consumer group"), moment)

    def _create(self) -> list[Command]:
        self._creating = True
        self._walks, self._looks = [], []
        return self._commands()

    def _reading(self, waiting: Waiting, processing: Processing, moment: Moment) -> Reading:
        held = [Held(row.name, row.consumer) for row in processing.held]
        held += [Held("", consumer) for consumer in processing.holders]
        return Reading(
            queue=self._queue,
            measured_at=moment.sent,
            waiting=waiting.entries,
            processing=processing.processing,
            stalled=processing.stalled,
            oldest_waiting_at=None if waiting.oldest is None else seconds_of(waiting.oldest),
            held=tuple(held),
            lower_bound=waiting.lower_bound or processing.lower_bound,
            took=moment.took,
        )

    def _failed(self, problem: problems.Problem, moment: Moment) -> ReadFailure:
        return ReadFailure(
            queue=self._queue, at=moment.sent, reason=problem.reason, detail=problem.detail, code=problem.code
        )
