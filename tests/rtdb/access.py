"""Who may read and write: tokens that end, and the constant rules of a database."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from tests.rtdb.database import Database, Path

OWNER = "owner"
"""The token of the emulators: it may do everything."""


class Refused(Exception):
    """A 401 with the message that the database gives."""


@dataclass
class Tokens:
    """Access tokens that are good, and until when (seconds since the epoch).

    Without `required`, `Bearer owner` and no token at all pass as well, as in the emulator.
    """

    required: bool = False
    clock: Callable[[], float] = time.time
    ends: dict[str, float] = field(default_factory=dict)

    def issue(self, token: str, *, seconds: float) -> None:
        """Makes `token` good for so long."""
        self.ends[token] = self.clock() + seconds

    def revoke(self, token: str) -> None:
        """Makes `token` bad at once."""
        self.ends[token] = 0.0

    def check(self, token: str | None) -> bool:
        """Whether the bearer is an administrator. Raises `Refused` for a token that is not good."""
        if token is None:
            return False
        if token == OWNER and not self.required:
            return True
        end = self.ends.get(token)
        if end is None:
            raise Refused("Unauthorized request.")
        if end <= self.clock():
            raise Refused("Auth token is expired")
        return True


def token_of(request: web.Request) -> str | None:
    """The credential of a request: `Authorization: Bearer`, `access_token=` or `auth=`."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Bearer "):
        return header.removeprefix("Bearer ")
    return request.query.get("access_token") or request.query.get("auth")


def authorise(request: web.Request, tokens: Tokens, database: Database, path: Path, right: str) -> None:
    """Raises `Refused` unless the bearer or the rules (`.read`, `.write`) allow it.

    A database that was given no rules is open, as a new emulator is.
    """
    if tokens.check(token_of(request)):
        return
    if tokens.required or (database.rules and not database.allows(right, path)):
        raise Refused("Permission denied")
