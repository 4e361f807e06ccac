"""`ottoscaler doctor` reads every queue once, and names what is to be done about those that cannot be read."""

import json
from pathlib import Path

from tests.component.adapter.running import ottoscaler
from tests.component.adapter.test_process import write
from tests.ports import free_port
from tests.redis.server import RedisServer

GOOD = "{{name: jobs, redis: {{url: '{url}', stream: jobs, group: workers}}}}"
NO_GROUP = "{{name: others, redis: {{url: '{url}', stream: jobs, group: others}}}}"
AWAY = "{{name: away, redis: {{url: 'redis://127.0.0.1:{port}/0', stream: jobs, group: workers}}}}"


def environ() -> dict[str, str]:
    return {"PATH": ""}


async def test_readable_queues_are_shown_with_what_they_hold(tmp_path: Path) -> None:
    with RedisServer() as server, server.commands() as client:
        client.xgroup_create("jobs", "workers", "0", mkstream=True)
        client.xadd("jobs", {"task_id": "1"})
        config = write(tmp_path / "c.yaml", GOOD.format(url=server.url))
        ended = await ottoscaler("doctor", "--config", config, environ=environ())
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split() == ["jobs", "redis-stream", "readable", "1", "0"]


async def test_what_is_wrong_is_said_of_each_queue_and_ends_in_a_failure(tmp_path: Path) -> None:
    with RedisServer() as server, server.commands() as client:
        client.xgroup_create("jobs", "workers", "0", mkstream=True)
        away = AWAY.format(port=free_port())
        config = write(
            tmp_path / "c.yaml", GOOD.format(url=server.url), NO_GROUP.format(url=server.url), away
        )
        ended = await ottoscaler("doctor", "--config", config, environ=environ())
        found = await ottoscaler("doctor", "--config", config, "-o", "json", environ=environ())
    assert (ended.status, found.status) == (1, 1)
    assert [line for line in ended.err.splitlines() if line.startswith("queue ")] == [
        "queue others: the stream has no such consumer group",
        "queue away: no connection to Redis",
    ]
    assert {queue["queue"]: queue.get("error") for queue in json.loads(found.out)} == {
        "jobs": None,
        "others": "the stream has no such consumer group",
        "away": "no connection to Redis",
    }


async def test_a_bad_file_is_told_by_its_lines(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("queues: [{nam: x}]\n")
    ended = await ottoscaler("doctor", "--config", config, environ=environ())
    assert ended.status == 2
    assert "c.yaml:1" in ended.err
