"""No credential reaches the log, whatever text it hides in."""

import contextlib
import io
import json

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
