"""SubjectAccessReviews: what is asked, what is remembered and for how long, and what an outage means.

Contract: external-metrics-api.md, "Who may ask", item 5.
"""

import asyncio
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from ottoscaler.apiservice.authorization import DelegatedAuthorizer
from ottoscaler.apiservice.identity import Attributes, AuthorizerUnavailable, User
from ottoscaler.apiservice.reviews import Reviewer
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.runtime.kube import KubeError
from tests.unit.apiservice.reviewing import BUSY, FORBIDDEN, UNREACHABLE, Reviews
from tests.virtual import VirtualClock

pytestmark = pytest.mark.looptime

JANE = User(
    name="jane", groups=("people", "system:authenticated"), extra=(("scopes", ("a", "b")),), uid="u-1"
)
ROOT = User(name="root", groups=("system:masters",))


def reading(metric: str = "queue_demand", namespace: str = "default") -> Attributes:
    return Attributes(
        verb="list",
        path=f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}",
        group="external.metrics.k8s.io",
        version="v1beta1",
        resource=metric,
        namespace=namespace,
    )


def allowed_to(*names: str) -> Reviews:
    def answer(spec: dict[str, Any]) -> dict[str, Any]:
        allowed = spec["user"] in names
        return {"allowed": allowed, "reason": "RBAC: allowed" if allowed else ""}

    return Reviews(answer)


def authorizer(
    reviews: Reviews, *, size: int = 4096, registry: CollectorRegistry | None = None
) -> DelegatedAuthorizer:
    clock = VirtualClock()
    reviewer = Reviewer(reviews, "access", metrics=SecurityMetrics(registry), clock=clock)
    return DelegatedAuthorizer(reviewer, clock=clock, size=size)


async def test_the_question_is_the_one_that_kubernetes_would_ask() -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    assert (await judge.authorize(JANE, reading())).allowed
    await judge.authorize(User(name="jane"), Attributes(verb="get", path="/openapi/v3"))
    assert [dict(spec) for spec in reviews.asked] == [
        {
            "user": "jane",
            "uid": "u-1",
            "groups": ("people", "system:authenticated"),
            "extra": {"scopes": ("a", "b")},
            "resourceAttributes": {
                "verb": "list",
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "resource": "queue_demand",
                "namespace": "default",
            },
        },
        {"user": "jane", "nonResourceAttributes": {"path": "/openapi/v3", "verb": "get"}},
    ]


async def test_the_masters_pass_without_a_review() -> None:
    reviews = allowed_to()
    judge = authorizer(reviews)
    assert judge.cached(ROOT, reading()) == (True, "")
    assert (await judge.authorize(ROOT, reading())).allowed
    assert reviews.asked == []


@pytest.mark.parametrize(("name", "seconds"), [("jane", 10.0), ("eve", 5.0)])
async def test_an_answer_is_remembered_ten_seconds_when_allowed_and_five_when_denied(
    name: str, seconds: float
) -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    user = User(name=name)
    assert judge.cached(user, reading()) is None
    decision = await judge.authorize(user, reading())
    await asyncio.sleep(seconds - 0.01)
    assert judge.cached(user, reading()) == decision
    assert await judge.authorize(user, reading()) == decision
    assert len(reviews.asked) == 1
    await asyncio.sleep(0.02)
    assert judge.cached(user, reading()) is None
    assert await judge.authorize(user, reading()) == decision
    assert len(reviews.asked) == 2


@pytest.mark.parametrize(
    "status",
    [
        {"allowed": False},
        {},
        {"allowed": True, "denied": True},
        {"allowed": "true"},
        {"allowed": False, "evaluationError": "unknown"},
    ],
)
async def test_nothing_but_a_plain_yes_allows(status: dict[str, Any]) -> None:
    assert not (await authorizer(Reviews(lambda _: status)).authorize(JANE, reading())).allowed


async def test_different_users_verbs_metrics_and_namespaces_are_different_questions() -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    questions = [
        (JANE, reading()),
        (User(name="jane"), reading()),
        (JANE, reading("queue_waiting")),
        (JANE, reading(namespace="other")),
        (JANE, Attributes(verb="list", path=reading().path)),
    ]
    for user, attributes in questions:
        await judge.authorize(user, attributes)
    assert len(reviews.asked) == len(questions)
    assert all(judge.cached(user, attributes) is not None for user, attributes in questions)


async def test_a_flood_of_refused_questions_evicts_no_granted_one_and_memory_is_bounded() -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews, size=8)
    await judge.authorize(JANE, reading())
    for number in range(100):
        await judge.authorize(User(name=f"eve-{number}"), reading())
    assert judge.cached(JANE, reading()) is not None
    assert len(judge._denied) == 8
    for number in range(20):
        await judge.authorize(JANE, reading(f"metric_{number}"))
    assert judge.cached(JANE, reading()) is None, "the least recently used goes first"
    assert len(judge._allowed) == 8


async def test_a_question_of_enormous_length_is_answered_and_not_remembered() -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    for length in (500, 20_000):
        assert (await judge.authorize(JANE, reading("m" * length))).allowed
        assert judge.cached(JANE, reading("m" * length)) is None
    longest = reading("m" * 63, namespace="n" * 63)
    assert (await judge.authorize(JANE, longest)).allowed
    assert judge.cached(JANE, longest) is not None


async def test_identical_questions_at_one_time_share_one_review() -> None:
    reviews = allowed_to("jane")
    reviews.delay = 0.5
    judge = authorizer(reviews)
    answers = await asyncio.gather(*(judge.authorize(JANE, reading()) for _ in range(50)))
    assert all(answer.allowed for answer in answers)
    assert len(reviews.asked) == 1


async def test_whoever_hangs_up_does_not_take_the_answer_from_the_others() -> None:
    reviews = allowed_to("jane")
    reviews.delay = 0.5
    judge = authorizer(reviews)
    first, second = (asyncio.create_task(judge.authorize(JANE, reading())) for _ in range(2))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).allowed
    assert len(reviews.asked) == 1


async def test_when_everybody_hangs_up_the_review_ends_too() -> None:
    reviews = allowed_to("jane")
    reviews.delay = 60.0
    judge = authorizer(reviews)
    asking = [asyncio.create_task(judge.authorize(JANE, reading())) for _ in range(3)]
    await asyncio.sleep(0.1)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    await asyncio.sleep(0.1)
    assert reviews.cancelled == 1
    reviews.delay = 0.0
    assert (await judge.authorize(JANE, reading())).allowed


async def test_without_the_reviewer_a_remembered_answer_lives_until_it_expires_and_then_there_is_an_error() -> (
    None
):
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    await judge.authorize(JANE, reading())
    reviews.error = UNREACHABLE
    await asyncio.sleep(9.9)
    assert (await judge.authorize(JANE, reading())).allowed
    await asyncio.sleep(0.2)
    with pytest.raises(AuthorizerUnavailable, match="connection refused"):
        await judge.authorize(JANE, reading())
    reviews.error = None
    assert (await judge.authorize(JANE, reading())).allowed


async def test_a_short_outage_costs_a_delay_and_a_long_one_five_seconds() -> None:
    reviews = allowed_to("jane")
    judge = authorizer(reviews)
    reviews.error = UNREACHABLE
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, lambda: setattr(reviews, "error", None))
    assert (await judge.authorize(JANE, reading())).allowed
    reviews.error = BUSY
    began = loop.time()
    with pytest.raises(AuthorizerUnavailable, match="within 5 s"):
        await judge.authorize(JANE, reading("another"))
    assert loop.time() - began == pytest.approx(5.0, abs=0.01)
    reviews.error, reviews.delay = None, 3600.0
    with pytest.raises(AuthorizerUnavailable, match="no answer"):
        await judge.authorize(JANE, reading("a_third"))


async def test_a_missing_right_to_ask_is_said_at_once_with_its_remedy() -> None:
    reviews = allowed_to("jane")
    reviews.error = FORBIDDEN
    with pytest.raises(AuthorizerUnavailable, match="system:auth-delegator"):
        await authorizer(reviews).authorize(JANE, reading())
    assert len(reviews.asked) == 1


class Silent(Reviews):
    async def create(self, _path: str, body: Any) -> Any:
        return body


class Confused(Reviews):
    async def create(self, _path: str, _body: Any) -> Any:
        raise KubeError(status=422, reason="Invalid", message="text of the API server")


@pytest.mark.parametrize("kind", [Silent, Confused])
async def test_an_answer_that_is_none_is_an_error(kind: type[Reviews]) -> None:
    with pytest.raises(AuthorizerUnavailable) as refused:
        await authorizer(kind(lambda _: {})).authorize(JANE, reading())
    assert "text of the API server" not in str(refused.value)


class Encoding(Reviews):
    async def create(self, path: str, body: Any) -> Any:
        msgspec.json.encode(body)
        return await super().create(path, body)


async def test_a_name_that_is_no_text_cannot_be_asked_about_and_is_an_error() -> None:
    reviews = Encoding(lambda _: {"allowed": True})
    with pytest.raises(AuthorizerUnavailable, match="no text"):
        await authorizer(reviews).authorize(User(name="jane\udcff"), reading())


async def test_a_flood_of_different_questions_is_asked_a_few_at_a_time() -> None:
    reviews = allowed_to("jane")
    reviews.delay = 0.1
    judge = authorizer(reviews)
    await asyncio.gather(*(judge.authorize(JANE, reading(f"metric_{number}")) for number in range(500)))
    assert reviews.most_at_once == 32


async def test_reviews_are_counted_and_timed() -> None:
    registry = CollectorRegistry()
    reviews = allowed_to("jane")
    reviews.delay = 0.02
    judge = authorizer(reviews, registry=registry)
    await judge.authorize(JANE, reading())
    reviews.error = FORBIDDEN
    with pytest.raises(AuthorizerUnavailable):
        await judge.authorize(JANE, reading("another"))

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"ottoscaler_apiservice_{name}", {"review": "access", **labels})

    assert sample("reviews_total", code="201") == 1
    assert sample("reviews_total", code="403") == 1
    assert sample("review_seconds_count") == 2
    assert sample("review_seconds_sum") == pytest.approx(0.04, abs=0.001)
