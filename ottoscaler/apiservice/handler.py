"""One request: who asks, may they, what is the answer.

The order is Kubernetes': identity (401) before permission (403) before anything is said about the path or
the query. Both checks are first tried in memory, without a task; `answer` says None when that does not
suffice, and the connection then calls `answer_later`.
"""

import asyncio
from collections import OrderedDict
from time import perf_counter

from aiohttp.http import RawRequestMessage

from ottoscaler.apiservice import status
from ottoscaler.apiservice.access_log import AccessLog
from ottoscaler.apiservice.endpoints import MetricEndpoint, represent
from ottoscaler.apiservice.identity import (
    Authenticator,
    AuthenticatorUnavailable,
    Authorizer,
    AuthorizerUnavailable,
    Connection,
    Decision,
    Identity,
    Unauthenticated,
)
from ottoscaler.apiservice.request_metrics import RequestMetrics
from ottoscaler.apiservice.response import Document, Response
from ottoscaler.apiservice.routing import Route, Router
from ottoscaler.runtime.log import get_logger

log = get_logger("apiservice")

_ROUTES_KEPT = 16 * 1024
_LONGEST_KEPT = 512
"""Characters of a target that is remembered: three to five times those of an HPA's."""


class Handler:
    """Answers requests from memory, or after asking who the caller is and what they may."""

    def __init__(
        self,
        router: Router,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        metrics: RequestMetrics,
        access_log: AccessLog,
        patience: float,
    ) -> None:
        self._router = router
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._metrics = metrics
        self._access_log = access_log
        self._patience = patience
        self._routes: OrderedDict[str, Route] = OrderedDict()  # of metrics that were given, oldest first

    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        """The answer when memory suffices for it."""
        started = perf_counter()
        route = self._routes.get(message.path) if message.method == "GET" else None
        if route is None:
            route = self._router.route(message.method, message.path)
        identity: Identity | None = None
        try:
            if route.public:
                response = route.endpoint(message.headers, route.target)
            else:
                identity = self._authenticator.cached(connection, message.headers)
                if identity is None:
                    return None
                decision = self._authorizer.cached(identity.user, route.attributes)
                if decision is None:
                    return None
                self._metrics.authenticated(identity.method, "known")
                response = self._judged(route, identity, decision, message)
        except Exception:  # the supervisor of requests: one that fails must not take its neighbours along
            response = self._failed(message)
        self._done(route, identity, connection, message, response, perf_counter() - started)
        return response

    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        """The answer, after asking whoever knows."""
        started = perf_counter()
        route = self._router.route(message.method, message.path)
        identity: Identity | None = None
        self._metrics.in_flight += 1
        try:
            async with asyncio.timeout(self._patience):
                identity = await self._identify(connection, message)
                decision = self._authorizer.cached(identity.user, route.attributes)
                if decision is None:
                    decision = await self._authorizer.authorize(identity.user, route.attributes)
            response = self._judged(route, identity, decision, message)
        except Unauthenticated as error:
            self._metrics.authenticated(error.reason, "refused")
            response = represent(status.UNAUTHORIZED, message.headers)
        except (AuthenticatorUnavailable, AuthorizerUnavailable, TimeoutError) as error:
            self._access_log.unjudged(error)
            response = represent(_unavailable(error), message.headers)
        except Exception:  # the supervisor of requests, as above
            response = self._failed(message)
        finally:
            self._metrics.in_flight -= 1
        self._done(route, identity, connection, message, response, perf_counter() - started)
        return response

    async def _identify(self, connection: Connection, message: RawRequestMessage) -> Identity:
        identity = self._authenticator.cached(connection, message.headers)
        if identity is not None:
            self._metrics.authenticated(identity.method, "known")
            return identity
        identity = await self._authenticator.authenticate(connection, message.headers)
        self._metrics.authenticated(identity.method, "accepted")
        return identity

    def _judged(
        self, route: Route, identity: Identity, decision: Decision, message: RawRequestMessage
    ) -> Response:
        if not decision.allowed:
            document = status.forbidden(identity.user, route.attributes, decision.reason)
            return represent(document, message.headers)
        response = route.endpoint(message.headers, route.target)
        if isinstance(route.endpoint, MetricEndpoint) and message.path not in self._routes:
            self._remember(message.path, route, route.endpoint)
        return response

    def _remember(self, raw: str, route: Route, endpoint: MetricEndpoint) -> None:
        target = endpoint.kept(route.target) if len(raw) <= _LONGEST_KEPT else None
        if target is None:
            return
        if len(self._routes) >= _ROUTES_KEPT:
            self._routes.popitem(last=False)
        self._routes[raw] = route._replace(target=target)

    def _failed(self, message: RawRequestMessage) -> Response:
        log.exception("a request failed", method=message.method, target=ascii(message.path[:500])[1:-1])
        return represent(status.INTERNAL_ERROR, message.headers)

    def _done(
        self,
        route: Route,
        identity: Identity | None,
        connection: Connection,
        message: RawRequestMessage,
        response: Response,
        seconds: float,
    ) -> None:
        self._metrics.answered(route.verb, route.kind, response.status, seconds)
        if self._access_log.wants(response.status, seconds):
            self._access_log.write(
                method=message.method,
                target=message.path,
                status=response.status,
                seconds=seconds,
                user=identity.user.name if identity else "",
                remote=connection.remote,
                headers=message.headers,
            )


def _unavailable(error: Exception) -> Document:
    if isinstance(error, AuthenticatorUnavailable):
        return status.AUTHENTICATION_UNAVAILABLE
    if isinstance(error, AuthorizerUnavailable):
        return status.AUTHORIZATION_UNAVAILABLE
    return status.TIMEOUT
