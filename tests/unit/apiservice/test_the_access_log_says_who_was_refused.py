from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice import access_log
from ottoscaler.apiservice.access_log import AccessLog, AccessPolicy
from ottoscaler.apiservice.identity import AuthenticatorUnavailable, Connection, Headers, Identity
from tests.component.apiservice.serving import serving


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.kept.append({"event": event, **fields})

    warning = info


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    kept = Lines()
    monkeypatch.setattr(access_log, "log", kept)
    return kept


def _write(log: AccessLog, *, target: str = "/x", **headers: str) -> None:
    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    log.write(
        method="GET",
        target=target,
        status=403,
        seconds=0.0015,
        user="jane",
        remote="10.0.0.1:5",
        headers=CIMultiDictProxy(fields),
    )


@pytest.mark.parametrize(
    ("policy", "status", "seconds", "wanted"),
    [
        ("failures", 200, 0.001, False),
        ("failures", 200, 2.0, True),
        ("failures", 401, 0.001, True),
        ("failures", 403, 0.001, True),
        ("failures", 404, 0.001, False),
        ("failures", 500, 0.001, True),
        ("failures", 503, 0.001, False),
        ("failures", 504, 0.001, True),
        ("all", 200, 0.001, True),
        ("none", 500, 9.0, False),
    ],
)
def test_what_is_worth_a_line(policy: AccessPolicy, status: int, seconds: float, wanted: bool) -> None:
    assert AccessLog(policy, lambda: 0.0).wants(status, seconds) is wanted


def test_a_line_names_the_caller_and_the_request_of_the_audit_log_and_no_secret(lines: Lines) -> None:
    _write(AccessLog("failures", lambda: 0.0), Authorization="Bearer abcdef", Audit_Id="a-1")
    (line,) = lines.kept
    assert line["user"] == "jane"
    assert line["audit_id"] == "a-1"
    assert line["milliseconds"] == 1.5
    assert "abcdef" not in str(line)


def test_a_line_stays_one_line_and_short(lines: Lines) -> None:
    _write(AccessLog("all", lambda: 0.0), target="/\udc80\n" + "x" * 5000)
    (line,) = lines.kept
    assert line["target"].startswith("/\\udc80\\n")
    assert len(line["target"]) < 600


def test_a_stranger_cannot_fill_the_log(lines: Lines) -> None:
    now = [10.0]
    log = AccessLog("failures", lambda: now[0])
    for _ in range(1000):
        _write(log)
    written = len(lines.kept)
    assert written <= 20
    now[0] = 11.0
    _write(log)
    assert lines.kept[written]["dropped"] == 1000 - written
    assert lines.kept[-1]["event"] == "request"


@pytest.mark.parametrize("policy", ["all", "failures", "none"])
def test_a_stranger_cannot_fill_the_log_while_nobody_can_be_judged(
    policy: AccessPolicy, lines: Lines
) -> None:
    now = [100.0]
    log = AccessLog(policy, lambda: now[0])
    error = AuthenticatorUnavailable("no answer")
    for _ in range(1000):
        log.unjudged(error)
    written = len(lines.kept)
    assert 1 <= written <= 5
    assert lines.kept[0] == {"event": "a request could not be judged", "error": error}
    now[0] = 110.0
    log.unjudged(error)
    assert lines.kept[written]["dropped"] == 1000 - written
    assert lines.kept[-1]["error"] is error


async def test_requests_that_cannot_be_judged_are_told_of_a_few_times(lines: Lines) -> None:
    class Away:
        def cached(self, _connection: Connection, _headers: Headers) -> None:
            return None

        async def authenticate(self, _connection: Connection, _headers: Headers) -> Identity:
            raise AuthenticatorUnavailable("the API server is away")

    async with serving(authenticator=Away(), access_log="failures") as running:
        client = await running.client("bad-token")
        for _ in range(20):
            assert (await client.ask("/version")).status == 503
    assert [line["event"] for line in lines.kept][:1] == ["a request could not be judged"]
    assert len(lines.kept) <= 11
