"""The variables of existing installations, and those that only look like them."""

from ottoscaler.orchestrator.config.load import from_environment, load


def test_variables_stand_for_a_document() -> None:
    variables = {"GRPC_PORT": "9191", "REDIS_HOST": "redis", "REDIS_PORT": "6380"}
    assert from_environment(variables).plain() == {
        "grpc": {"address": "0.0.0.0:9191"},
        "events": {"redis": {"url": "redis://redis:6380/0"}},
    }


def test_variables_of_services_are_nobodys_settings() -> None:
    links = {"REDIS_PORT": "tcp://10.96.3.1:6379", "GRPC_PORT": "tcp://10.96.3.2:9090"}
    assert from_environment(links).plain() == {}
    assert load(None, links) == load(None, {})
    assert from_environment(links | {"REDIS_HOST": "redis"}).plain() == {
        "events": {"redis": {"url": "redis://redis:6379/0"}}
    }
