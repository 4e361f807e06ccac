"""The gRPC server: our services, health checking and reflection on one port, by TLS when files are given."""

from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from ottoscaler.orchestrator.certificates import CertificateFiles, Pems, UnusableCertificate
from ottoscaler.orchestrator.config.model import Certificates, Grpc
from ottoscaler.orchestrator.protocol import ottoscaler_pb2, ottoscaler_pb2_grpc
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import (
    LogStreamingServiceServicer,
    OttoscalerServiceServicer,
)
from ottoscaler.orchestrator.service.decoding import Decoding
from ottoscaler.runtime.config import split_address
from ottoscaler.runtime.log import get_logger

log = get_logger("grpc")
_SERVED = ("OttoscalerService", "LogStreamingService")


class CannotServe(Exception):
    """The address is taken, or a certificate cannot be used, ours or the handler's."""


class GrpcServer:
    """Serves from `start` to `stop`."""

    def __init__(
        self, settings: Grpc, scaling: OttoscalerServiceServicer, logs: LogStreamingServiceServicer
    ) -> None:
        self._settings = settings
        keepalive = round(settings.keepalive * 1000)
        self._server = grpc.aio.server(
            interceptors=(Decoding(),),
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
            options=(
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", 64 * 1024 * 1024),
                ("grpc.keepalive_time_ms", keepalive),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
                ("grpc.so_reuseport", 0),
            ),
        )
        self._health = HealthServicer()
        ottoscaler_pb2_grpc.add_OttoscalerServiceServicer_to_server(scaling, self._server)
        ottoscaler_pb2_grpc.add_LogStreamingServiceServicer_to_server(logs, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = ottoscaler_pb2.DESCRIPTOR.services_by_name
        self._names = tuple(services[name].full_name for name in _SERVED)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*self._names, health, reflection.SERVICE_NAME), self._server)
        self.port = 0

    async def start(self) -> None:
        """Raises `CannotServe`."""
        address = self._settings.address
        host, port = split_address(address)
        target = f"[{host}]:{port}" if ":" in host else f"{host or '[::]'}:{port}"
        try:
            if self._settings.tls is None:
                self.port = self._server.add_insecure_port(target)
            else:
                self.port = self._server.add_secure_port(target, _credentials(self._settings.tls))
        except UnusableCertificate as error:
            raise CannotServe(f"grpc.tls cannot be used: {error}") from error
        except (RuntimeError, OSError, ValueError) as error:
            raise CannotServe(f"grpc.address {address} cannot be served: {error}") from error
        await self._server.start()
        await self.set_serving(serving=True)

    async def set_serving(self, *, serving: bool) -> None:
        """What health checks are told, of the server as a whole and of each service."""
        states = health_pb2.HealthCheckResponse.ServingStatus
        state = states.Value("SERVING" if serving else "NOT_SERVING")
        for name in ("", *self._names):
            await self._health.set(name, state)

    async def stop(self, seconds: float) -> None:
        """No new calls; those in progress have so long."""
        await self._server.stop(seconds)


def _credentials(tls: Certificates) -> grpc.ServerCredentials:
    """Looked at again for every connection, so that a renewed certificate needs no restart."""
    files = _Files(tls)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(), files.renewed, require_client_authentication=tls.client_ca_file is not None
    )


class _Files:
    def __init__(self, tls: Certificates) -> None:
        self._files = CertificateFiles(tls.cert_file, tls.key_file, tls.client_ca_file)
        self._seen: Pems | None = None

    def configuration(self) -> Any:
        """Raises `UnusableCertificate`."""
        pems = self._files.read()
        if pems != self._seen:
            self._files.check()
        self._seen = pems
        return grpc.ssl_server_certificate_configuration(
            [(pems.key, pems.certificate)], root_certificates=pems.authorities or None
        )

    def renewed(self) -> Any:
        """None while the files are what they were; what is half written is looked at again next time."""
        before = self._seen
        try:
            configuration = self.configuration()
        except UnusableCertificate as error:
            log.debug("the renewed certificate cannot be used yet", error=error)
            return None
        return None if self._seen == before else configuration
