"""Whether a user may: delegated authorisation by SubjectAccessReview.

The API server's answers are remembered, allowed and denied ones apart and for as long as the contract
says, so that the HPA controller costs one review in ten seconds and a flood of refused questions evicts
no granted one. A remembered answer lives on while the reviewer is away; without one there is an error,
never a permission.
"""

from collections.abc import Hashable
from typing import Any, Final

from cachetools import TTLCache

from ottoscaler.apiservice.identity import Attributes, AuthorizerUnavailable, Decision, User
from ottoscaler.apiservice.reviews import Reviewer, ReviewError
from ottoscaler.apiservice.shared_calls import SharedCalls
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock

ALLOWED_SECONDS: Final = 10.0
DENIED_SECONDS: Final = 5.0
SUPERUSERS: Final = "system:masters"
_CACHED: Final = 4096
_LONGEST_CACHED: Final = 1000
"""Characters of caller-chosen text in one question. (k8s' webhook authorizer has 10,000: 40 MB of them.)"""

_SUPERUSER = Decision(allowed=True)


class DelegatedAuthorizer:
    """Allows what the API server allows."""

    def __init__(self, review: Reviewer, *, clock: Clock = SYSTEM_CLOCK, size: int = _CACHED) -> None:
        self._review = review
        self._allowed: TTLCache[Hashable, Decision] = TTLCache(size, ALLOWED_SECONDS, clock.monotonic)
        self._denied: TTLCache[Hashable, Decision] = TTLCache(size, DENIED_SECONDS, clock.monotonic)
        self._asked: SharedCalls[Decision] = SharedCalls()

    def cached(self, user: User, attributes: Attributes) -> Decision | None:
        """The decision, when it needs no review."""
        if SUPERUSERS in user.groups:
            return _SUPERUSER
        question = (user, attributes)
        try:
            return self._allowed[question]
        except KeyError:
            return self._denied.get(question)

    async def authorize(self, user: User, attributes: Attributes) -> Decision:
        """The decision. Raises `AuthorizerUnavailable`."""
        known = self.cached(user, attributes)
        if known is not None:
            return known
        question = (user, attributes)
        return await self._asked(question, lambda: self._ask(user, attributes))

    async def _ask(self, user: User, attributes: Attributes) -> Decision:
        try:
            status = await self._review(_spec(user, attributes))
        except ReviewError as error:
            raise AuthorizerUnavailable(str(error)) from error
        # Both at once is a contradiction; "denied" wins, and silence is not consent.
        allowed = status.get("allowed") is True and status.get("denied") is not True
        decision = Decision(allowed=allowed, reason=str(status.get("reason") or ""))
        if _worth_caching(attributes):
            (self._allowed if allowed else self._denied)[user, attributes] = decision
        return decision


def _spec(user: User, attributes: Attributes) -> dict[str, Any]:
    """A SubjectAccessReviewSpec (authorization.k8s.io/v1)."""
    spec: dict[str, Any] = {"user": user.name}
    if user.uid:
        spec["uid"] = user.uid
    if user.groups:
        spec["groups"] = user.groups
    if user.extra:
        spec["extra"] = dict(user.extra)
    if attributes.resource is None:
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
        return spec
    named = {
        "verb": attributes.verb,
        "group": attributes.group,
        "version": attributes.version,
        "resource": attributes.resource,
        "subresource": attributes.subresource,
        "namespace": attributes.namespace,
        "name": attributes.name,
    }
    spec["resourceAttributes"] = {field: value for field, value in named.items() if value}
    return spec


def _worth_caching(attributes: Attributes) -> bool:
    chosen = (attributes.path, attributes.resource or "", attributes.namespace, attributes.name)
    return sum(map(len, chosen)) <= _LONGEST_CACHED
