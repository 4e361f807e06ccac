"""Where a Redis is and how to be let in: what can be said, and what is refused in words that repeat no secret."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.runtime.redis import Address, RedisConnection, RedisSentinel, RedisTLS, parse_url


@pytest.mark.parametrize(
    ("url", "tls", "addresses", "database", "user"),
    [
        ("redis://redis", False, [("redis", 6379)], 0, (None, None)),
        ("redis://redis:6380/3", False, [("redis", 6380)], 3, (None, None)),
        ("redis://redis/", False, [("redis", 6379)], 0, (None, None)),
        ("rediss://:p%40ss@redis", True, [("redis", 6379)], 0, (None, "p@ss")),
        ("rediss://me:secret@[::1]:7000/1", True, [("::1", 7000)], 1, ("me", "secret")),
        ("redis://me@redis", False, [("redis", 6379)], 0, ("me", None)),
        ("redis://a:1,b,c:3", False, [("a", 1), ("b", 6379), ("c", 3)], 0, (None, None)),
    ],
)
def test_a_url_names_servers_database_and_user(
    url: str, tls: bool, addresses: list[tuple[str, int]], database: int, user: tuple[Any, Any]
) -> None:
    parsed = parse_url(url)
    assert parsed.tls is tls
    assert list(parsed.addresses()) == [Address(*each) for each in addresses]
    assert parsed.database == database
    assert (parsed.username, parsed.password) == user


def test_sentinels_have_a_port_of_their_own_by_default() -> None:
    assert parse_url("redis://s1,s2:5000").addresses(default_port=26379) == (("s1", 26379), ("s2", 5000))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://redis", "scheme"),
        ("redis", "scheme"),
        ("redis://", "no host"),
        ("redis://:hunter2@", "no host"),
        ("redis://redis?ssl_cert_reqs=none", "keys of their own"),
        ("redis://me:hun@ter2@redis", "%40"),
        ("redis://redis:99999", "port"),
        ("redis://redis:0", "port"),
        ("redis://redis/x", "cannot be understood"),
        ("redis://me:hun/ter2@redis", "%2F"),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_repeating_it(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^url ") as error:
        RedisConnection(url=url)
    assert said in str(error.value)
    assert "ter2" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "redis://a,b"}, "several hosts"),
        ({"url": "redis://a/1", "cluster": True}, "no database but 0"),
        ({"url": "redis://a", "tls": RedisTLS()}, "rediss://"),
        ({"url": "redis://a", "cluster": True, "sentinel": RedisSentinel(master="m")}, "exclude each other"),
        ({"url": "redis://:x@a", "password_file": Path("p")}, "given twice"),
        ({"url": "redis://a", "password_variable": "P", "password_file": Path("p")}, "given twice"),
        ({"url": "redis://me:x@a", "username": "you"}, "give it once"),
        ({"url": "redis://me@a"}, "no password"),
        ({"url": "redis://a", "username": "me"}, "no password"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RedisConnection(**settings)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ValueError, match="belong together"):
        RedisTLS(cert_file=Path("c"))


def test_a_sentinel_names_its_master() -> None:
    with pytest.raises(ValueError, match="master is empty"):
        RedisSentinel(master="")


def test_equal_settings_share_a_connection() -> None:
    block = {
        "url": "rediss://s1,s2",
        "passwordVariable": "P",
        "sentinel": {"master": "main"},
        "tls": {"verifyHostname": False},
    }
    one, other = msgspec.convert(block, RedisConnection), msgspec.convert(block, RedisConnection)
    assert one == other
    assert hash(one) == hash(other)


@given(
    st.one_of(
        st.text(), st.builds("redis://{}".format, st.text()), st.builds("rediss://{}@h".format, st.text())
    )
)
def test_any_text_is_a_url_or_refused_in_words(text: str) -> None:
    try:
        parsed = parse_url(text)
    except ValueError as error:
        assert str(error).startswith("url ")
    else:
        assert parsed.hosts
