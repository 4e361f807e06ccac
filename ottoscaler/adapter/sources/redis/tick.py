"""One reading of every queue that is due, in as few round trips as can be.

Learn who serves what; send each server the transactions of its queues in one pipeline; publish what the
replies mean; go on with the few queues that need another transaction. An error about a key is that queue's
failure. A server that breaks off fails its own queues: in a Cluster the others go on, also where none of
them is due in this tick, otherwise the source ends. Whatever else goes wrong, a queue ends the tick with a
number that was counted, or with a failure.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import aclosing

from redis.exceptions import AskError, MovedError, RedisError

from ottoscaler.adapter.reading import ReadFailure
from ottoscaler.adapter.sources.base import Publish, Queue
from ottoscaler.adapter.sources.redis.lists import ListSurvey
from ottoscaler.adapter.sources.redis.node import Node
from ottoscaler.adapter.sources.redis.pipeline import Replies, exchange, out_of_step
from ottoscaler.adapter.sources.redis.problems import Problem, ServerProblem, of_queue, of_server
from ottoscaler.adapter.sources.redis.settings import RedisSettings
from ottoscaler.adapter.sources.redis.snapshot import Malformed
from ottoscaler.adapter.sources.redis.stream import StreamSurvey
from ottoscaler.adapter.sources.redis.survey import Command, Moment, Survey
from ottoscaler.adapter.sources.redis.topology import Topology
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.redis import Address

_MOST_TRANSACTIONS = 64
"""Of one reading; with what is known by then it must do."""
_MOST_REDIRECTS = 3
_BREATH = 16
"""Queues after which other tasks get their turn."""
_PATIENCE = 0.5
"""The share of the timeout after which no reading begins another transaction."""

_TOO_SLOW = Problem("unreachable", "Redis is too slow: counting takes more than half of its timeout")

SERVER_CHANGES = "server_changes"
"""Counted where another server answers for a queue than before, since following it fails nothing."""

RedisQueue = Queue[RedisSettings]
Count = Callable[[str, str, float], None]
"""As in `SourceContext`."""


def _uncounted(queue: str, what: str, amount: float) -> None:
    """For who does not want to know."""


class Surveys:
    """The surveys of the queues, each for as long as its queue and its connection stay the same."""

    def __init__(self, count: Count = _uncounted) -> None:
        self._count = count
        self._known: dict[str, tuple[RedisQueue, Node, int, Survey]] = {}

    def of(self, queue: RedisQueue, node: Node) -> Survey:
        """The survey of `queue` on `node`, which is connected."""
        known = self._known.get(queue.name)
        if known is not None and known[:3] == (queue, node, node.session):
            return known[3]
        if known is not None and known[1].address != node.address:
            self._count(queue.name, SERVER_CHANGES, 1)
        survey: Survey = StreamSurvey(queue) if queue.settings.lists is None else ListSurvey(queue)
        self._known[queue.name] = (queue, node, node.session, survey)
        return survey

    def keep(self, names: Container[str]) -> None:
        """Forgets the queues that are not among `names`."""
        self._known = {name: known for name, known in self._known.items() if name in names}

    def clear(self) -> None:
        """Forgets all."""
        self._known.clear()


class _Reading:
    """A reading in progress: a queue's survey, and the commands that it wants next."""

    __slots__ = ("commands", "queue", "survey", "transactions")

    def __init__(self, queue: RedisQueue, survey: Survey) -> None:
        self.queue = queue
        self.survey = survey
        self.commands: Sequence[Command] = survey.begin()
        self.transactions = 0


class Tick:
    """Reads a set of queues once. `timeout` is seconds for all of it.

    Nothing is published of a queue that is not configured as it was, once `is_configured` says so: a reload has
    overtaken the reading.
    """

    def __init__(
        self,
        topology: Topology,
        surveys: Surveys,
        publish: Publish,
        *,
        clock: Clock,
        timeout: float,
        is_configured: Callable[[RedisQueue], bool] = lambda queue: True,
    ) -> None:
        self._topology = topology
        self._surveys = surveys
        self._publish = publish
        self._is_configured = is_configured
        self._clock = clock
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._began = clock.monotonic()
        self._patience = timeout * _PATIENCE
        self._broken: ServerProblem | None = None
        self._lost: list[tuple[RedisQueue, Problem]] = []
        self._moved: list[tuple[RedisQueue, AskError]] = []

    async def run(self, queues: Iterable[RedisQueue]) -> None:
        """Publishes a reading or a failure of each queue. Raises `ServerProblem` when the server could not be
        used, or no server of a Cluster says who serves what; then some queues may have been published."""
        left = list(queues)
        asked: list[tuple[RedisQueue, Address]] = []
        for _ in range(1 + _MOST_REDIRECTS):
            self._moved = []
            await self._refresh()
            async with asyncio.TaskGroup() as group:
                for node, mine in self._by_node(left).items():
                    group.create_task(self._read(node, mine, asking=False))
                for queue, address in asked:
                    group.create_task(self._read(self._topology.at(address), [queue], asking=True))
            if not self._moved:
                break
            left, asked = self._redirect()
        for queue, error in self._moved:
            self._fail(
                queue, Problem("unreachable", "its slot of the Redis Cluster is being moved", str(error))
            )
        if self._broken is not None and not self._topology.nodes_fail_alone:
            raise self._broken
        for queue, problem in self._lost:
            self._fail(queue, problem)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._topology.refresh()
        except TimeoutError as error:
            raise ServerProblem(of_server(error)) from error

    def _by_node(self, queues: Iterable[RedisQueue]) -> dict[Node, list[RedisQueue]]:
        nodes: dict[Node, list[RedisQueue]] = defaultdict(list)
        for queue in queues:
            try:
                nodes[self._topology.node(queue.settings.key)].append(queue)
            except ServerProblem as error:
                self._break([queue], error)
        return nodes

    def _redirect(self) -> tuple[list[RedisQueue], list[tuple[RedisQueue, Address]]]:
        """The queues to ask again by the map of slots, and those to ask at one address only (ASK)."""
        left: list[RedisQueue] = []
        asked: list[tuple[RedisQueue, Address]] = []
        for queue, error in self._moved:
            if isinstance(error, MovedError):
                self._topology.doubt()
                left.append(queue)
            else:
                asked.append((queue, Address(error.host, error.port)))
        return left, asked

    async def _read(self, node: Node, queues: Sequence[RedisQueue], *, asking: bool) -> None:
        """Reads `queues` on `node`, transaction after transaction."""
        unread = {queue.name: queue for queue in queues}
        try:
            async with asyncio.timeout_at(self._deadline):
                connection = await node.connection()
                readings = []
                for number, queue in enumerate(queues):
                    readings.append(_Reading(queue, self._surveys.of(queue, node)))
                    if number % _BREATH == 0:
                        await asyncio.sleep(0)
                while readings:
                    sent, going_on = self._clock.time(), []
                    answers = exchange(
                        connection,
                        [reading.commands for reading in readings],
                        asking=asking,
                        must_be_master=self._topology.must_be_master,
                    )
                    waiting = iter(readings)
                    async with aclosing(answers):
                        async for replies in answers:
                            reading = next(waiting)
                            if self._take(reading, replies, sent):
                                going_on.append(reading)
                            else:
                                del unread[reading.queue.name]
                    readings = going_on
        except (ServerProblem, TimeoutError) as error:
            await node.close()
            self._topology.doubt()
            problem = error if isinstance(error, ServerProblem) else ServerProblem(of_server(error))
            self._break(list(unread.values()), problem)

    def _take(self, reading: _Reading, replies: Replies, sent: float) -> bool:
        """Publishes what the replies mean; True when the reading needs another transaction."""
        if isinstance(replies, AskError) and self._topology.nodes_fail_alone:
            self._moved.append((reading.queue, replies))
            return False
        if isinstance(replies, RedisError):
            self._fail(reading.queue, of_queue(replies))
            return False
        reading.transactions += 1
        took = self._clock.monotonic() - self._began
        final = reading.transactions >= _MOST_TRANSACTIONS
        try:
            outcome = reading.survey.take(replies, Moment(sent, took), final=final)
        except Malformed as error:
            raise ServerProblem(out_of_step(str(error))) from error
        if isinstance(outcome, list) and took > self._patience:
            self._fail(reading.queue, _TOO_SLOW)  # half a count is no count; what it learned is kept
            return False
        if isinstance(outcome, list):
            reading.commands = outcome
            return True
        if self._is_configured(reading.queue):
            self._publish(outcome)
        return False

    def _break(self, queues: Iterable[RedisQueue], error: ServerProblem) -> None:
        self._broken = self._broken or error
        self._lost += [(queue, error.problem) for queue in queues]

    def _fail(self, queue: RedisQueue, problem: Problem) -> None:
        if not self._is_configured(queue):
            return
        self._publish(
            ReadFailure(
                queue=queue.name,
                at=self._clock.time(),
                reason=problem.reason,
                detail=problem.detail,
                code=problem.code,
            )
        )
