"""The external-metrics API server: a provider, an authenticator and an authorizer behind a listener.

    async with ExternalMetricsServer(provider, authenticator=…, authorizer=…, tls=…) as server:
        print(server.addresses)
        await stop.wait()
        server.begin_to_leave()      # not ready from now on; every answer is the last on its connection

Leaving the block closes the listener, lets requests in flight finish, and returns within `leave_seconds`.
"""

from collections.abc import Mapping

from aiohttp.http import RawRequestMessage

from ottoscaler.apiservice.access_log import AccessLog, AccessPolicy
from ottoscaler.apiservice.channels import Tls
from ottoscaler.apiservice.endpoints import Check
from ottoscaler.apiservice.handler import Handler
from ottoscaler.apiservice.identity import Authenticator, Authorizer, Connection
from ottoscaler.apiservice.limits import DEFAULT_LIMITS, Limits
from ottoscaler.apiservice.listener import Listener
from ottoscaler.apiservice.provider import MetricsProvider
from ottoscaler.apiservice.request_metrics import RequestMetrics
from ottoscaler.apiservice.response import Response
from ottoscaler.apiservice.routing import Router


class ExternalMetricsServer(Listener):
    """Serves until its block is left. Without `tls` it speaks plain HTTP: for the loopback interface only.

    `readiness` and `liveness` are named checks for `/readyz` and `/livez`; whether a backend can be
    reached belongs in neither, since that would take the whole cluster's discovery with it.
    """

    def __init__(
        self,
        provider: MetricsProvider,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        tls: Tls | None,
        host: str = "127.0.0.1",
        port: int = 6443,
        readiness: Mapping[str, Check] | None = None,
        liveness: Mapping[str, Check] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        metrics: RequestMetrics | None = None,
        access_log: AccessPolicy = "failures",
        leave_seconds: float = 4.0,
    ) -> None:
        super().__init__(tls=tls, host=host, port=port, limits=limits, leave_seconds=leave_seconds)
        self._metrics = metrics or RequestMetrics()
        checks = {"ping": _ping, "leaving": self._check_leaving, **(readiness or {})}
        router = Router(provider, readiness=checks, liveness={"ping": _ping, **(liveness or {})})
        self._handler = Handler(
            router,
            authenticator=authenticator,
            authorizer=authorizer,
            metrics=self._metrics,
            access_log=AccessLog(access_log, self.now),
            patience=limits.answer_seconds,
        )

    def _check_leaving(self) -> str | None:
        return "the server is shutting down" if self.leaving else None

    def answer(self, connection: Connection, message: RawRequestMessage) -> Response | None:
        return self._handler.answer(connection, message)

    async def answer_later(self, connection: Connection, message: RawRequestMessage) -> Response:
        return await self._handler.answer_later(connection, message)

    def refused(self, status: int) -> None:
        self._metrics.refused(status)

    def connected(self, connections: int) -> None:
        self._metrics.connections = connections


def _ping() -> str | None:
    return None
