"""The variables of existing installations start the adapter without a file, on a real Redis and an RTDB."""

from collections.abc import Iterator

import pytest

from tests.component.adapter.running import Adapter, running
from tests.redis.server import RedisServer
from tests.rtdb.server import RtdbServer
from tests.waiting import until

ANYWHERE = {"API_ADDRESS": "127.0.0.1:0", "HTTP_ADDRESS": "127.0.0.1:0"}


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def counts(adapter: Adapter, queue: str) -> list[str] | None:
    """Waiting and demand, once the queue was read."""
    status = {row["queue"]: row for row in (await adapter.status())["queues"]}
    if status[queue]["state"] != "fresh":
        return None
    selector = f"queue={queue}"
    namespace = "default" if queue == "scale-events" else "jobs"
    waiting = await adapter.values(selector, metric="queue_waiting", namespace=namespace)
    return waiting + await adapter.values(selector, namespace=namespace)


async def test_the_streams_variables_are_enough(redis_server: RedisServer, environ: dict[str, str]) -> None:
    with redis_server.commands() as client:
        client.xgroup_create("events", "mine", id="0", mkstream=True)
        for _ in range(5):
            client.xadd("events", {"type": "scale_up"})
        client.xreadgroup("mine", "worker", {"events": ">"}, count=2)
    variables = {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_server.port),
        "REDIS_STREAM": "events",
        "REDIS_CONSUMER_GROUP": "mine",
    }
    async with running(None, {**environ, **ANYWHERE, **variables}) as adapter:
        await until(lambda: counts(adapter, "scale-events"))
        assert await counts(adapter, "scale-events") == ["3", "5"]


async def test_the_generators_variables_are_enough(environ: dict[str, str]) -> None:
    async with RtdbServer() as database:
        database.write(
            "requestedJobs/eventstorming_generator",
            {"a": {"createdAt": 1}, "b": {"createdAt": 2}, "c": {"status": "failed"}},
        )
        variables = {
            "FIREBASE_DATABASE_URL": database.url(),
            "AUTO_SCALE_NAMESPACE": "jobs",
            "AUTO_SCALE_DEPLOYMENT_NAME": "eventstorming-generator",
        }
        async with running(None, {**environ, **ANYWHERE, **variables}) as adapter:
            await until(lambda: counts(adapter, "eventstorming-generator"))
            assert await counts(adapter, "eventstorming-generator") == ["2", "2"]
            database.write("requestedJobs/eventstorming_generator/d", {"createdAt": 3})

            async def pushed() -> bool:
                return await counts(adapter, "eventstorming-generator") == ["3", "3"]

            await until(pushed, what="a job that was written is seen without a poll")
