"""No credential reaches the log, whatever text it hides in."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ottoscaler.runtime.log import configure_logging, get_logger, redact


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:hunter2secret@redis:6379/0",
        "rediss://:hunter2secret@redis",
        "Authorization: Bearer hunter2secret",
        "GET /p.json?auth=hunter2secret&ns=x",
        "access_token=hunter2secret",
        'config {"password": "hunter2secret"}',
        "password: hunter2secret",
        "-----BEGIN PRIVATE KEY-----\nhunter2secret\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2secret",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    assert "hunter2secret" not in redact(text)


@pytest.mark.parametrize("text", ["redis://redis:6379/0", "queue generator is 6m old", "token review failed"])
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text


def test_a_json_line_carries_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="info", format="json")
    try:
        get_logger("source").warning("failed", error=ValueError("redis://u:hunter2secret@h"), queue="q")
        get_logger("source").debug("not shown")
    finally:
        structlog.reset_defaults()

    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["level"] == "warning"
    assert event["queue"] == "q"
    assert event["error"] == "ValueError: redis://u:***@h"


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown log level 'loud'"):
        configure_logging(level="loud")


def test_a_logger_outlives_the_stream_that_it_first_wrote_to(capsys: pytest.CaptureFixture[str]) -> None:
    log = get_logger("source")
    first = io.StringIO()
    with contextlib.redirect_stderr(first):
        configure_logging(level="info", format="json")
        log.info("one")
    first.close()
    try:
        log.info("two")
    finally:
        structlog.reset_defaults()
    assert json.loads(capsys.readouterr().err)["event"] == "two"


@pytest.fixture
def json_lines() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    configure_logging(level="info", format="json")
    try:
        yield
    finally:
        root.handlers, level = before
        root.setLevel(level)
        structlog.reset_defaults()


@pytest.mark.usefixtures("json_lines")
def test_what_libraries_log_is_of_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("google.auth")
    library.info("not shown")
    try:
        int("redis://u:hunter2secret@h")
    except ValueError:
        library.exception("renewal failed\n  token: %s", "hunter2secret")

    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["component"], event["level"], event["event"]) == ("google.auth", "error", "renewal failed")
    assert event["detail"] == "token: ***"
    assert event["error"].startswith("ValueError: invalid literal")
    assert "exception" not in event
    assert "hunter2secret" not in line


@pytest.mark.usefixtures("json_lines")
def test_only_the_end_of_a_connection_that_is_known_to_be_over_is_not_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in ("unable to perform operation on <TCPTransport closed=True>; the handler is closed", "other"):
        error = RuntimeError(text)
        logging.getLogger("asyncio").error("Fatal error on SSL protocol", exc_info=error)

    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: other" in json.loads(line)["exception"]


def test_libraries_are_heard_once_however_often_the_log_is_set(
    json_lines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(level="info", format="json")
    logging.getLogger("aiohttp").warning("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
