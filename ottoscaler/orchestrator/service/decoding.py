"""Requests that are no messages of the contract.

gRPC for Python ends such a call with INTERNAL and "Exception deserializing request!", as if the fault
were ours. Here the bytes become a `Malformed`, and the call that meets one refuses it in words.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

_OURS = "/ottoscaler.v1."


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands where a request should be; `words` are for the caller."""

    words: str


class Decoding(grpc.aio.ServerInterceptor):
    """Decodes the requests of our services so that what is no message can be answered."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler, its deserializer replaced; None for a method that nobody serves."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        return handler._replace(request_deserializer=_tolerant(handler.request_deserializer))


def _tolerant(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except (DecodeError, ValueError) as error:
            what = getattr(decode, "__self__", None)
            name = getattr(getattr(what, "DESCRIPTOR", None), "full_name", "message of the contract")
            return Malformed(f"the request is no {name}: {error}")

    return read
