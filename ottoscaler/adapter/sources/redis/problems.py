"""What can go wrong with a Redis, in words for people.

Reasons are shown through the API: they name what to do, and no address, user or text of the server. What
the server said goes to the log as detail.
"""

import ssl
from typing import NamedTuple

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MaxConnectionsError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from ottoscaler.adapter.reading import FailureCode
from ottoscaler.runtime.redis_client import CredentialsUnavailable


class Problem(NamedTuple):
    """A failure: a word for metrics, a reason for people, a detail for the log."""

    code: FailureCode
    reason: str
    detail: str = ""


class ServerProblem(Exception):
    """A server could not be used: no queue on it was read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


_PART_OF_CLUSTER = "Redis is part of a Cluster: add `cluster: true`"
_BY_CODE: dict[str, Problem] = {
    "ASK": Problem("error", _PART_OF_CLUSTER),
    "BUSY": Problem("unreachable", "Redis is busy with a script"),
    "CLUSTERDOWN": Problem("unreachable", "the Redis Cluster is down or has slots that no node serves"),
    "CROSSSLOT": Problem(
        "invalid", "its keys live in different slots of the Redis Cluster: give them one {hash tag}"
    ),
    "LOADING": Problem("unreachable", "Redis is loading its data set"),
    "MASTERDOWN": Problem("unreachable", "the Redis replica has lost its master"),
    "MOVED": Problem("error", _PART_OF_CLUSTER),
    "NOAUTH": Problem("unauthorized", "Redis wants a password"),
    "NOPERM": Problem("forbidden", "the Redis user lacks a right"),
    "OOM": Problem("error", "Redis is out of memory"),
    "READONLY": Problem("forbidden", "Redis is a read-only replica"),
    "TRYAGAIN": Problem("unreachable", "its slot of the Redis Cluster is being moved"),
    "WRONGPASS": Problem("unauthorized", "Redis refuses the user or the password"),
    "WRONGTYPE": Problem("invalid", "its key holds another type of value"),
}


def of_server(error: BaseException) -> Problem:
    """What a failure of the connection, or of the server as a whole, means."""
    detail = f"{type(error).__name__}: {error}"
    match error:
        case CredentialsUnavailable():
            return Problem("unauthorized", "the password of Redis cannot be read", detail)
        case AuthenticationError():
            code = _code_of(error) or "WRONGPASS"
            return (_BY_CODE.get(code) or _BY_CODE["WRONGPASS"])._replace(detail=detail)
        case BusyLoadingError():
            return _BY_CODE["LOADING"]._replace(detail=detail)
        case MasterDownError() | ClusterDownError():
            return _BY_CODE[_code_of(error) or "CLUSTERDOWN"]._replace(detail=detail)
        case InvalidResponse():
            return Problem("invalid", "what answers is no Redis, or garbles its answers", detail)
        case TimeoutError() | RedisTimeoutError():
            return Problem("unreachable", "Redis does not answer in time", detail)
        case MaxConnectionsError():
            return Problem("limited", "too many connections to Redis", detail)
    return _unreachable(error, detail)


def _unreachable(error: BaseException, detail: str) -> Problem:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 8:
        causes.append(cause)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return Problem("unreachable", "the certificate of Redis is not trusted", detail)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Problem("unreachable", "no TLS connection to Redis", detail)
    if any(isinstance(cause, FileNotFoundError | PermissionError) for cause in causes):
        return Problem("error", "a certificate file for Redis cannot be read", detail)
    if "max number of clients" in str(error):
        return Problem("limited", "Redis accepts no more clients", detail)
    if isinstance(error, ResponseError):
        return of_queue(error)
    return Problem("unreachable", "no connection to Redis", detail)


def of_queue(error: RedisError) -> Problem:
    """What an error that a command on a queue's key got means."""
    detail = f"{type(error).__name__}: {error}"
    known = _BY_CODE.get(_code_of(error))
    return known._replace(detail=detail) if known else Problem("error", "Redis refuses the reading", detail)


def is_about_server(error: RedisError) -> bool:
    """Whether every other queue of the same server will meet the same error."""
    return isinstance(error, AuthenticationError | BusyLoadingError | MasterDownError | ClusterDownError) or (
        _code_of(error) == "BUSY"
    )


def _code_of(error: BaseException) -> str:
    """The word that the server's error begins with; for EXECABORT, the word of its cause."""
    code, text = getattr(error, "status_code", None), str(error)
    if code == "EXECABORT":
        return text.rpartition("because of: ")[2].partition(" ")[0]
    return str(code) if code else text.partition(" ")[0]
