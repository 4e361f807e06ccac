"""The `firebase` block: what is accepted, where it leads, and how the rest is refused."""

import subprocess
import sys

import pytest

from ottoscaler.adapter.sources.firebase_settings import EMULATOR_VARIABLE, FirebaseSettings, endpoint_of


@pytest.mark.parametrize(
    ("url", "environ", "address", "is_emulator"),
    [
        ("https://demo.firebaseio.com", {}, "https://demo.firebaseio.com/a/b.json", False),
        ("https://demo.firebaseio.com/", {}, "https://demo.firebaseio.com/a/b.json", False),
        ("https://host.example/?ns=demo", {}, "https://host.example/a/b.json?ns=demo", False),
        ("http://127.0.0.1:9000/?ns=demo", {}, "http://127.0.0.1:9000/a/b.json?ns=demo", True),
        ("http://127.0.0.1:9000?ns=demo", {}, "http://127.0.0.1:9000/a/b.json?ns=demo", True),
        (
            "https://demo.europe-west1.firebasedatabase.app",
            {EMULATOR_VARIABLE: "localhost:9000"},
            "http://localhost:9000/a/b.json?ns=demo",
            True,
        ),
        (
            "http://127.0.0.1:9000/?ns=demo",
            {EMULATOR_VARIABLE: "localhost:1"},
            "http://127.0.0.1:9000/a/b.json?ns=demo",
            True,
        ),
    ],
)
def test_where_a_database_is(url: str, environ: dict[str, str], address: str, is_emulator: bool) -> None:
    endpoint = endpoint_of(url, environ)
    target = endpoint.url(("a", "b"))
    if endpoint.namespace is not None:
        target = target.with_query(ns=endpoint.namespace)
    assert (str(target), endpoint.is_emulator) == (address, is_emulator)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is no URL of a database"),
        ("demo.firebaseio.com", "is no URL of a database"),
        ("ftp://demo.firebaseio.com", "is no URL of a database"),
        ("https://", "is no URL of a database"),
        ("https://host:port/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("http://demo.firebaseio.com", "must begin with https"),
        ("https://demo.firebaseio.com/jobs", "give the path of the node as `path`"),
        ("https://demo.firebaseio.com/?auth=x", "ns=NAME, and no other"),
        ("https://demo.firebaseio.com/?ns=", "ns=NAME"),
        ("https://demo.firebaseio.com/?ns=a&ns=b", "ns=NAME"),
        ("https://demo.firebaseio.com/?ns=a/b", "ns=NAME"),
    ],
)
def test_a_url_that_is_none(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FirebaseSettings(database_url=url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="is no URL of a database") as raised:
        FirebaseSettings(database_url="https://me:hunter2@demo.firebaseio.com")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("path", ["a//b", "a/b.c", "a/$x", "a/#", "a[0]", "a\n"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="is no path of a database"):
        FirebaseSettings(database_url="https://demo.firebaseio.com", path=path)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "/.json"),
        ("", "/.json"),
        ("/a/b/", "/a/b.json"),
        ("a b/ü?&", "/a%20b/%C3%BC%3F&.json"),
    ],
)
def test_paths_become_addresses(path: str, file: str) -> None:
    settings = FirebaseSettings(database_url="https://demo.firebaseio.com", path=path)
    assert (
        str(endpoint_of(settings.database_url, {}).url(settings.keys)) == f"https://demo.firebaseio.com{file}"
    )


def test_the_contracts_queue_is_the_default() -> None:
    settings = FirebaseSettings(database_url="https://demo.firebaseio.com")
    assert settings.keys == ("requestedJobs", "eventstorming_generator")
    assert settings.mode == "stream"


def test_nothing_of_googles_is_imported_for_an_emulator() -> None:
    program = (
        "import sys; import ottoscaler.adapter.sources.firebase_rtdb;"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('google', 'firebase_admin', 'requests', 'grpc', 'cryptography')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
