"""The API server on a real socket with real TLS and delegated authentication, and a client by hand.

The values and the roles are fixed; who asks is decided by certificates, headers and tokens as in a
cluster.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

from ottoscaler.apiservice.identity import Attributes, Decision, User
from ottoscaler.apiservice.provider import MetricNotFound, MetricUnavailable, MetricValue, MetricValueList
from ottoscaler.apiservice.selector import Selector
from ottoscaler.apiservice.server import ExternalMetricsServer
from tests.component.apiservice.authorities import Issued, authority, client_context, leaf
from tests.component.apiservice.secured import KnownTokens, SecuredServer

GROUP_VERSION = "/apis/external.metrics.k8s.io/v1beta1"
MEASURED_AT = 1_795_000_000.5

CLUSTER = authority("kubernetes")
FRONT = authority("front-proxy-ca")
PROXY = leaf(FRONT, "front-proxy-client")
HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
AS_ADMIN = (("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters"))


@dataclass(frozen=True)
class Caller:
    """Somebody with a way to prove who they are, or to pretend."""

    certificate: Issued | None = None
    headers: tuple[tuple[str, str], ...] = ()


CALLERS: Mapping[str, Caller] = {
    "hpa": Caller(
        PROXY,
        (
            ("X-Remote-User", HPA),
            ("X-Remote-Group", "system:serviceaccounts"),
            ("X-Remote-Group", "system:authenticated"),
        ),
    ),
    "aggregator": Caller(
        PROXY, (("X-Remote-User", "system:kube-aggregator"), ("X-Remote-Group", "system:masters"))
    ),
    "jane": Caller(leaf(CLUSTER, "jane", organisations=("team-a",))),
    "token": Caller(headers=(("Authorization", "Bearer good"),)),
    "mallory": Caller(headers=(("Authorization", "Bearer weak"),)),
    "bad-token": Caller(headers=(("Authorization", "Bearer wrong"),)),
    "nobody": Caller(),
    "forged": Caller(headers=AS_ADMIN),
    "forged-by-user": Caller(leaf(CLUSTER, "front-proxy-client"), AS_ADMIN),
    "forged-by-name": Caller(leaf(FRONT, "somebody-else"), AS_ADMIN),
}


class Values:
    """A provider with a few fixed metrics."""

    def __init__(self) -> None:
        self._queues = [
            _value("a", 5000, kind="redis-stream"),
            _value("b", 1500, kind="redis-list"),
        ]
        self._deep = MetricValueList([_value(f"queue-{number:05}", 1000) for number in range(2000)])
        self._answers: dict[Selector, MetricValueList] = {}
        self.names = ("queue_broken", "queue_deep", "queue_demand", "queue_waiting")

    def list_metrics(self) -> Sequence[str]:
        return self.names

    def read(self, namespace: str, name: str, selector: Selector) -> MetricValueList:
        match name:
            case "queue_waiting":
                raise MetricUnavailable('queue "a" was last read 6m ago: its Redis does not answer')
            case "queue_broken":
                raise RuntimeError("redis://:secret@10.0.0.1 refused")
            case "queue_deep":
                return self._deep
            case "queue_demand" if namespace == "default":
                return self._demand(selector)
        raise MetricNotFound(f'metric "{name}" is not visible from namespace "{namespace}"')

    def _demand(self, selector: Selector) -> MetricValueList:
        if selector not in self._answers:
            items = [value for value in self._queues if selector.matches(value.labels)]
            if not items:
                raise MetricNotFound(f"no queue matches {selector}")
            self._answers[selector] = MetricValueList(items)
        return self._answers[selector]


def _value(queue: str, milli: int, **labels: str) -> MetricValue:
    return MetricValue(
        metric_name="queue_demand",
        labels={"queue": queue, **labels},
        timestamp=MEASURED_AT,
        value_milli=milli,
    )


class Roles:
    """RBAC in small: everybody who is somebody may discover; some may list metrics."""

    def __init__(self) -> None:
        self.asked = 0
        self._known: dict[tuple[User, Attributes], Decision] = {}

    def cached(self, user: User, attributes: Attributes) -> Decision | None:
        if "system:masters" in user.groups:
            return Decision(allowed=True)
        return self._known.get((user, attributes))

    async def authorize(self, user: User, attributes: Attributes) -> Decision:
        self.asked += 1
        await asyncio.sleep(0)
        decision = self._known[user, attributes] = Decision(self._allows(user.name, attributes))
        return decision

    @staticmethod
    def _allows(name: str, wanted: Attributes) -> bool:
        if wanted.resource is None:
            return wanted.verb in ("get", "head") and not wanted.path.startswith("/private")
        if name in (HPA, "ci"):
            return wanted.verb in ("get", "list")
        return name == "jane" and (wanted.verb, wanted.resource) == ("list", "queue_demand")


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


@dataclass
class Client:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: tuple[tuple[str, str], ...] = ()
    _closed: bool = field(default=False, init=False)

    async def ask(
        self,
        target: str,
        method: str = "GET",
        *headers: tuple[str, str],
        version: str = "HTTP/1.1",
    ) -> Answer:
        """One request, and its answer."""
        self.send(target, method, *headers, version=version)
        return await self.answer(method)

    def send(
        self, target: str, method: str = "GET", *headers: tuple[str, str], version: str = "HTTP/1.1"
    ) -> None:
        """One request."""
        fields = [("Host", "adapter.ottoscaler.svc"), *self.headers, *headers]
        lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in fields), "", ""]
        self.writer.write("\r\n".join(lines).encode())

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises `asyncio.IncompleteReadError` when the server ends the connection."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines:
            name, _, value = line.partition(": ")
            headers.add(name, value)
        version, status, _ = status_line.split(" ", 2)
        size = 0 if method == "HEAD" else int(headers.get("Content-Length", "0"))
        return Answer(int(status), headers, await self.reader.readexactly(size), version)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self.reader.read()

    async def ended(self) -> bool:
        """Whether the server has ended the connection without another byte."""
        try:
            return await self.reader.read(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.writer.transport.abort()


@dataclass
class Serving:
    """A running server and what it was made of."""

    server: ExternalMetricsServer
    security: SecuredServer
    roles: Roles
    values: Values
    tokens: KnownTokens
    clients: list[Client] = field(default_factory=list)

    async def client(self, caller: str = "hpa", *, tls: bool = True) -> Client:
        """A new connection by one of `CALLERS`."""
        who = CALLERS[caller]
        context = client_context(who.certificate) if tls else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=context, limit=2**22
        )
        client = Client(reader, writer, who.headers)
        self.clients.append(client)
        return client


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Serving]:
    """A server for one test; `options` are `ExternalMetricsServer`'s."""
    tokens = KnownTokens(good="ci", weak="mallory")
    security = SecuredServer(tokens=tokens)
    security.publish(front_proxy=(FRONT,), clients=(CLUSTER,))
    roles, values = Roles(), Values()
    settings: dict[str, Any] = {
        "access_log": "none",
        "port": 0,
        "tls": security.tls,
        "leave_seconds": 1.0,
    } | options
    server = ExternalMetricsServer(
        settings.pop("provider", values),
        authenticator=settings.pop("authenticator", security.authenticator),
        authorizer=settings.pop("authorizer", roles),
        **settings,
    )
    running = Serving(server, security, roles, values, tokens)
    try:
        async with server:
            yield running
    finally:
        for client in running.clients:
            client.close()
