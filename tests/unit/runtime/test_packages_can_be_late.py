import subprocess
import sys

_CHECK = """
import sys
from ottoscaler.runtime.late_packages import put_off
put_off("redis", "redis.asyncio", "no_such_package")
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError
assert "redis.client" not in sys.modules and "redis.commands" not in sys.modules
import redis
from redis.asyncio import Redis, RedisCluster, Sentinel
assert "redis.client" in sys.modules
assert redis.asyncio.Redis is Redis and redis.RedisError is RedisError
assert issubclass(Redis.from_url("redis://127.0.0.1:1").connection_pool.connection_class, Connection)
try:
    redis.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError
put_off("redis")
assert sys.modules["redis"] is redis and redis.Redis
"""


def test_modules_come_without_their_package_and_the_package_when_it_is_needed() -> None:
    result = subprocess.run([sys.executable, "-c", _CHECK], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
