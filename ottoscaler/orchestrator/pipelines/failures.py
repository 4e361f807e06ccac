"""How workers fail, and which failures a retry policy means."""

import re
from typing import Final, NamedTuple

from ottoscaler.orchestrator.pipelines.model import RetryRule

TIMEOUT: Final = "Timeout"
REFUSED: Final = "Refused"
GONE: Final = "Gone"
"""Reasons of failures that no pod reports."""

_CODES: Final = re.compile(
    r"(?:exit[ _-]?code\s*[:=]?\s*)?([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?", re.IGNORECASE
)


class Failure(NamedTuple):
    """How a worker failed, as retry policies name failures."""

    exit_code: int | None
    """None when no container ended with one."""
    reason: str
    phase: str
    words: str
    """For people."""


def read_codes(entry: str) -> tuple[int, int] | None:
    """The exit codes, first and last, that an entry of a policy means; None when it means none.

    `3`, `1-9`, `exit_code:3`, `exit code 1-9`.
    """
    match = _CODES.fullmatch(entry.strip())
    return None if match is None else (int(match[1]), int(match[2] or match[1]))


def matches(rule: RetryRule, failure: Failure) -> bool:
    """Whether the policy calls this failure retryable: one entry that fits is enough, none means every."""
    return not rule.failures or any(_means(entry.strip(), failure) for entry in rule.failures)


def _means(entry: str, failure: Failure) -> bool:
    codes = read_codes(entry)
    if codes is not None:
        return failure.exit_code is not None and codes[0] <= failure.exit_code <= codes[1]
    kind, colon, word = entry.partition(":")
    meant = {"reason": failure.reason, "phase": failure.phase}.get(kind.strip().lower())
    if colon and meant is not None:
        return word.strip().lower() == meant.lower()
    return entry.lower() in {failure.reason.lower(), failure.phase.lower()}
