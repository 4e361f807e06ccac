"""The library's client with a connection of its own.

gRPC shares one TCP connection among all channels of a process that are made alike. A client that is made anew
because the old one's connection is dead would get that very connection, for as long as anything, an exception's
trace for instance, still holds a call of the old one.
"""

from collections.abc import Sequence
from typing import Any, cast

import grpc.aio
from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.services.firestore.transports.grpc_asyncio import FirestoreGrpcAsyncIOTransport

_OWN = ("grpc.use_local_subchannel_pool", 1)
_ANY_SIZE = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""As the library has it."""


class _Transport(FirestoreGrpcAsyncIOTransport):
    @classmethod
    def create_channel(cls, *args: Any, options: Sequence[tuple[str, Any]] = (), **kwargs: Any) -> Any:
        return super().create_channel(*args, options=[*options, _OWN], **kwargs)


class OwnConnectionClient(AsyncClient):
    """Two of them never share a connection. Nothing is connected before the first request."""

    def _firestore_api_helper(self, transport: Any, client_class: Any, client_module: Any) -> Any:
        return super()._firestore_api_helper(_Transport, client_class, client_module)

    def _emulator_channel(self, transport: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(cast("str", self._emulator_host), options=[_OWN, *_ANY_SIZE])
