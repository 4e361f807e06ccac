"""One look at a container: does it answer? HTTP, TCP and gRPC, each with a connection of its own."""

import asyncio
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe saw; the message is for the event of a failure."""

    healthy: bool
    message: str = ""


class Probers:
    """The network probes. Failing to connect is an outcome, not an error."""

    def __init__(self) -> None:
        # Kubelets do not check the certificates of what they probe.
        unchecked = ssl.create_default_context()
        unchecked.check_hostname = False
        unchecked.verify_mode = ssl.CERT_NONE
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=unchecked, force_close=True, limit=0),
            headers={"User-Agent": "kube-probe/1.34", "Accept": "*/*"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def http(self, action: Json, address: str, port: int) -> Outcome:
        """Any status from 200 to 399 is healthy."""
        scheme = str(action.get("scheme", "HTTP")).lower()
        path = action.get("path") or "/"
        url = f"{scheme}://{action.get('host') or address}:{port}/{path.removeprefix('/')}"
        headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
        try:
            async with self._http.get(url, headers=headers, allow_redirects=False) as response:
                healthy = 200 <= response.status < 400
                return Outcome(healthy, f"HTTP probe failed with statuscode: {response.status}")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(False, f'Get "{url}": {error}')

    async def tcp(self, action: Json, address: str, port: int) -> Outcome:
        """Whoever accepts the connection is healthy."""
        try:
            _, writer = await asyncio.open_connection(action.get("host") or address, port)
        except OSError as error:
            return Outcome(False, f"dial tcp {address}:{port}: {error.strerror or error}")
        writer.close()
        return Outcome(True)

    async def grpc(self, action: Json, address: str, port: int) -> Outcome:
        """`grpc.health.v1.Health/Check` of the named service must say SERVING."""
        # Imported by the first such probe: it costs 0.2 s that most clusters never need.
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        request = health_pb2.HealthCheckRequest(service=action.get("service") or "")
        async with grpc.aio.insecure_channel(f"{address}:{port}") as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(request)
            except grpc.aio.AioRpcError as error:
                return Outcome(
                    False, f"error: health rpc probe failed: {error.code().name}: {error.details()}"
                )
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Outcome(serving, f"service unhealthy (responded with status {answer.status})")
