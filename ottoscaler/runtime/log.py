"""One log for both processes: structlog events as text for people or JSON for collectors.

Values pass a filter that hides what looks like a credential, because connection strings and headers
end up in exception texts that nobody wrote with a log in mind. What libraries log by `logging` passes it too.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

# structlog.dev draws tracebacks with rich where it can import it: 4 MiB in every process, never used here.
_rich = sys.modules.get("rich", Ellipsis)
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    if _rich is Ellipsis:
        del sys.modules["rich"]
    else:
        sys.modules["rich"] = _rich

LogFormat = Literal["text", "json"]

_SECRETS = (
    (re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)", re.IGNORECASE), r"\g<keep>***"),
    (re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), r"\g<keep>***"),
    (
        re.compile(
            r"(?P<keep>\b(?:password|passwd|token|secret|auth|access_token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
            r"[^\s\"'&,;]+",
            re.IGNORECASE,
        ),
        r"\g<keep>***",
    ),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        "***",
    ),
)


def redact(text: str) -> str:
    """`text` without passwords in URLs, bearer tokens, key=value secrets and private keys."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
        elif isinstance(value, BaseException):
            event[key] = redact(f"{type(value).__name__}: {value}")
    return event


class _StandardError:
    """Standard error as it is when a line is written: who runs us inside may put another in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Libraries(logging.Handler):
    """Turns the records of libraries into events of ours: the first line is the event, what follows is detail.

    Only asyncio's exceptions keep their trace: they are bugs that nobody caught. Other libraries raise what they
    log, or go on.
    """

    def emit(self, record: logging.LogRecord) -> None:
        event, _, detail = record.getMessage().partition("\n")
        level = logging.DEBUG if _is_closed_already(record) else record.levelno
        said: dict[str, Any] = {"detail": " ".join(detail.split())} if detail else {}
        if record.name == "asyncio":
            said["exc_info"] = record.exc_info
        elif record.exc_info is not None and record.exc_info[1] is not None:
            said["error"] = record.exc_info[1]
        nearest = min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)
        get_logger(record.name).log(nearest, event, **said)


def _is_closed_already(record: logging.LogRecord) -> bool:
    """uvloop stumbles over bytes for a connection that is gone; who uses that connection is told all the same."""
    error = record.exc_info[1] if record.exc_info else None
    return record.name == "asyncio" and isinstance(error, RuntimeError) and "handler is closed" in str(error)


def configure_logging(*, level: str = "info", format: LogFormat = "text") -> None:  # noqa: A002
    """Sets the process's log: `level` by name, lines to standard error; of libraries from warnings on.

    Raises `ValueError` when the level is unknown.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}: use debug, info, warning or error")
    render: Any = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [*(each for each in root.handlers if not isinstance(each, _Libraries)), _Libraries()]
    root.setLevel(max(number, logging.WARNING))


def get_logger(name: str) -> Any:
    """A logger whose lines carry `component=name`."""
    return structlog.get_logger(component=name)
