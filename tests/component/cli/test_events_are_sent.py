"""`ottoscaler event send` on a real Redis: what it writes is what the orchestrator reads."""

from pathlib import Path
from typing import Any

import msgspec

from tests.orchestrator.commands import ottoscaler
from tests.orchestrator.replica import Replica
from tests.ports import free_port
from tests.redis.server import RedisServer
from tests.waiting import until

STREAM = "otto:scale:events"


def entries(server: RedisServer, stream: str = STREAM) -> list[dict[str, str]]:
    """The fields of every entry."""
    with server.commands(decode_responses=True) as client:
        found: Any = client.xrange(stream)
    return [fields for _, fields in found]


async def test_an_event_becomes_workers(tmp_path: Path) -> None:
    with RedisServer() as server:
        settings = {"mock": True, "events": {"redis": {"url": server.url}}}
        place = ("--redis", server.url)
        async with Replica(tmp_path, settings) as replica:
            sent = await ottoscaler(
                *("event", "send", "--workers", "3", "--task", "task-123", "--repo", "acme/shop"),
                *("--field", "branch=main", *place),
            )
            assert (sent.status, sent.err) == (0, "")
            assert sent.out.endswith(f" in {STREAM}: scale_up 3, task task-123\n")
            assert entries(server) == [
                {
                    "type": "scale_up",
                    "pod_count": "3",
                    "task_id": "task-123",
                    "repository": "acme/shop",
                    "branch": "main",
                }
            ]
            await until(lambda: "worker ended" in replica.log, what="the workers ran")
            assert replica.log.count("worker ended") <= 3


async def test_down_events_and_json(tmp_path: Path) -> None:
    with RedisServer() as server:
        variables = {"REDIS_PORT": str(server.port), "REDIS_STREAM": "my:events"}
        down = ("event", "send", "--type", "scale_down", "--task", "t", "--workers", "0", "-o", "json")
        sent = await ottoscaler(*down, **variables)
        fields = {"type": "scale_down", "pod_count": "0", "task_id": "t"}
        assert sent.json == {"id": sent.json["id"], "stream": "my:events", "fields": fields}
        assert entries(server, "my:events") == [fields]


async def test_redis_as_the_orchestrator_is_configured_for_it(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    connection = {"passwordFile": str(tmp_path / "password")}
    with RedisServer("--requirepass", "secret") as server:
        config = tmp_path / "orchestrator.yaml"
        config.write_bytes(msgspec.yaml.encode({"events": {"redis": {"url": server.url, **connection}}}))
        assert (await ottoscaler("event", "send", "--config", config)).status == 0

        (tmp_path / "password").write_text("wrong\n")
        refused = await ottoscaler("event", "send", "--config", config)
        assert refused.status == 1
        assert refused.err.startswith(f"error: Redis at 127.0.0.1:{server.port} does not let us in: ")
        assert "wrong" not in refused.err.replace("wrong username", "").replace("WRONGPASS", "")
        assert refused.err.count("\n") == 1


async def test_a_cluster_that_is_away_is_one_line(tmp_path: Path) -> None:
    port, config = free_port(), tmp_path / "orchestrator.yaml"
    connection = {"url": f"redis://127.0.0.1:{port}", "cluster": True}
    config.write_bytes(msgspec.yaml.encode({"events": {"redis": connection}}))
    refused = await ottoscaler("event", "send", "--config", config)
    assert refused.status == 1
    assert refused.err == (
        f"error: Redis at 127.0.0.1:{port} cannot be reached: nothing listens there: "
        "is Redis running, and is --redis right?\n"
    )
    with RedisServer() as server:
        connection["url"] = server.url
        config.write_bytes(msgspec.yaml.encode({"events": {"redis": connection}}))
        refused = await ottoscaler("event", "send", "--config", config)
    assert refused.status == 1
    assert refused.err == (
        f"error: Redis at 127.0.0.1:{server.port} cannot be reached: Cluster mode is not enabled on this node\n"
    )


async def test_a_redis_that_is_away_is_one_line() -> None:
    port = free_port()
    refused = await ottoscaler("event", "send", "--redis", f"redis://:secret@127.0.0.1:{port}/0")
    assert refused.status == 1
    assert refused.err == (
        f"error: Redis at 127.0.0.1:{port} cannot be reached: nothing listens there: "
        "is Redis running, and is --redis right?\n"
    )
