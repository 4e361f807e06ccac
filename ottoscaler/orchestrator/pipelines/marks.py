"""Who follows a run, noted on its record, so that a client that goes away ends only what nobody follows.

Each replica with a client of the run keeps one mark there, renewed while it follows. When its last
client goes away it takes its mark back and notes that somebody has left. The leader ends a run that
somebody has left as soon as no mark holds. A mark of a replica that was killed ends by itself. What is
said of somebody who left is taken back when a client follows anew, and by a replica that shuts down.
"""

from collections.abc import Mapping
from typing import Final

from ottoscaler.orchestrator.naming import DOMAIN, digest

CANCEL: Final = f"{DOMAIN}/cancel"
"""An annotation for people: `true` ends the run, whoever follows it."""
LEFT: Final = f"{DOMAIN}/left"
_FOLLOWED: Final = f"followed.{DOMAIN}/"
HOLDS: Final = 120.0
"""Seconds that a mark holds."""
RENEWED: Final = 40.0
"""Seconds after which it is renewed."""


def mark_of(follower: str, at: float) -> dict[str, str]:
    """The annotation that says until when `follower` is known to follow."""
    return {f"{_FOLLOWED}{digest(follower)}": str(round(at + HOLDS))}


def ends_at(notes: Mapping[str, str], *, since: float) -> float | None:
    """When the run of a record with the annotations `notes` is cancelled; None when nobody asked for it.

    `since` is when we began to look. A mark holds until `HOLDS` seconds after that at least: while
    nobody looked, perhaps nobody could renew it either.
    """
    if notes.get(CANCEL) == "true":
        return 0.0
    if notes.get(LEFT) != "true":
        return None
    marks = [text for key, text in notes.items() if key.startswith(_FOLLOWED) and text.isdecimal()]
    return max((max(float(text), since + HOLDS) for text in marks), default=0.0)
