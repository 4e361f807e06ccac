"""Bearer tokens: how they are read, whose they are, what is remembered and what never appears.

Contract: external-metrics-api.md, "Who may ask", item 3.
"""

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ottoscaler.apiservice.identity import AuthenticatorUnavailable, Unauthenticated
from ottoscaler.apiservice.reviews import Reviewer
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tokens import TokenAuthenticator, bearer_token
from tests.unit.apiservice.reviewing import FORBIDDEN, UNREACHABLE, Reviews
from tests.virtual import VirtualClock


def token_in(authorization: str | None) -> str | None:
    fields = [] if authorization is None else [("Authorization", authorization)]
    return bearer_token(CIMultiDictProxy(CIMultiDict(fields)))


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("  BEARER abc  ", "abc"),
        ("Bearer abc def", "abc"),
        ("Bearer  abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic YTpi", None),
        ("Bearerabc", None),
        ("Bearer t\xf6ken", None),
        ("Bearer \udcff", None),
    ],
)
def test_the_header_is_read_as_kubernetes_reads_it(authorization: str | None, token: str | None) -> None:
    assert token_in(authorization) == token


@given(st.text())
def test_any_header_is_a_token_or_none(authorization: str) -> None:
    token = token_in(authorization)
    assert token is None or (token and token in authorization)


def knowing(**users: dict[str, Any]) -> Reviews:
    def answer(spec: dict[str, Any]) -> dict[str, Any]:
        user = users.get(spec["token"])
        if user is None:
            return {"authenticated": False, "error": f"[invalid bearer token {spec['token']}]"}
        return {"authenticated": True, "user": user}

    return Reviews(answer)


def authenticator(reviews: Reviews) -> TokenAuthenticator:
    clock = VirtualClock()
    reviewer = Reviewer(reviews, "token", metrics=SecurityMetrics(), clock=clock)
    return TokenAuthenticator(reviewer, clock=clock)


JANE = {
    "username": "jane",
    "uid": "u-1",
    "groups": ["people"],
    "extra": {"b": ["2"], "a": ["1", "x"]},
}


@pytest.mark.looptime
async def test_a_good_token_is_its_user_for_ten_seconds_by_one_review() -> None:
    reviews = knowing(good=JANE)
    tokens = authenticator(reviews)
    assert tokens.cached("good") is None
    identity = await tokens.authenticate("good")
    assert (identity.method, identity.user.name, identity.user.uid) == ("token", "jane", "u-1")
    assert identity.user.groups == ("people", "system:authenticated")
    assert identity.user.extra == (("a", ("1", "x")), ("b", ("2",)))
    await asyncio.sleep(9.9)
    assert tokens.cached("good") is identity
    assert await tokens.authenticate("good") is identity
    assert len(reviews.asked) == 1
    await asyncio.sleep(0.2)
    assert tokens.cached("good") is None
    assert await tokens.authenticate("good") == identity
    assert len(reviews.asked) == 2


@pytest.mark.looptime
async def test_a_bad_token_is_refused_for_five_seconds_by_one_review() -> None:
    reviews = knowing()
    tokens = authenticator(reviews)
    for _ in range(3):
        with pytest.raises(Unauthenticated) as refused:
            await tokens.authenticate("bad")
        assert refused.value.reason == "token"
        assert tokens.cached("bad") is None
        await asyncio.sleep(1.6)
    assert len(reviews.asked) == 1
    await asyncio.sleep(0.3)
    reviews.answer = knowing(bad=JANE).answer
    assert (await tokens.authenticate("bad")).user.name == "jane"


@pytest.mark.looptime
async def test_a_flood_of_bad_tokens_evicts_no_good_one() -> None:
    reviews = knowing(good=JANE)
    tokens = authenticator(reviews)
    await tokens.authenticate("good")
    for number in range(2000):
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(f"bad-{number}")
    assert tokens.cached("good") is not None


@pytest.mark.looptime
@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": True},
        {"authenticated": True, "user": {}},
        {"authenticated": True, "user": {"username": ""}},
        {"authenticated": "true", "user": {"username": "jane"}},
        {"authenticated": False, "user": {"username": "jane"}},
    ],
)
async def test_a_review_that_names_nobody_is_a_refusal(status: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator(Reviews(lambda _: status)).authenticate("some")


@pytest.mark.looptime
@pytest.mark.parametrize("error", [UNREACHABLE, FORBIDDEN])
async def test_a_token_that_cannot_be_reviewed_is_an_error_and_no_refusal(error: Any) -> None:
    reviews = knowing(good=JANE)
    tokens = authenticator(reviews)
    await tokens.authenticate("good")
    reviews.error = error
    assert (await tokens.authenticate("good")).user.name == "jane"
    with pytest.raises(AuthenticatorUnavailable) as failed:
        await tokens.authenticate("another-token")
    assert "another-token" not in str(failed.value)
    reviews.error = None
    await asyncio.sleep(1.0)
    with pytest.raises(Unauthenticated):
        await tokens.authenticate("another-token")


@pytest.mark.looptime
async def test_a_refusal_of_reviews_stands_for_a_second_whoever_asks() -> None:
    reviews = knowing(good=JANE)
    reviews.error, reviews.delay = FORBIDDEN, 0.1
    tokens = authenticator(reviews)
    answers = await asyncio.gather(
        *(tokens.authenticate(f"token-{number}") for number in range(500)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {AuthenticatorUnavailable}
    assert len({str(answer) for answer in answers}) == 1
    assert len(reviews.asked) <= 32, "those under way"
    asked = len(reviews.asked)
    with pytest.raises(AuthenticatorUnavailable, match="auth-delegator"):
        await tokens.authenticate("good")
    assert len(reviews.asked) == asked
    reviews.error = None
    await asyncio.sleep(1.0)
    assert (await tokens.authenticate("good")).user.name == "jane"


@pytest.mark.looptime
async def test_one_token_at_one_time_is_reviewed_once() -> None:
    reviews = knowing(good=JANE)
    reviews.delay = 0.3
    tokens = authenticator(reviews)
    answers = await asyncio.gather(
        *(tokens.authenticate("good") for _ in range(20)),
        *(tokens.authenticate("bad") for _ in range(20)),
        return_exceptions=True,
    )
    assert len(reviews.asked) == 2
    assert [type(answer).__name__ for answer in answers] == ["Identity"] * 20 + ["Unauthenticated"] * 20


@pytest.mark.looptime
async def test_neither_texts_nor_the_memory_hold_a_token() -> None:
    secret = "".join(("very", "-secret-", "token"))
    tokens = authenticator(knowing(**{secret: JANE}))
    await tokens.authenticate(secret)
    with pytest.raises(Unauthenticated) as refused:
        await tokens.authenticate(secret + "-bad")
    assert secret not in str(refused.value)
    gc.collect()
    kept = [*tokens._good, *tokens._bad, *tokens._bad.values()]
    assert kept
    assert not any(secret in str(item) for item in kept)
