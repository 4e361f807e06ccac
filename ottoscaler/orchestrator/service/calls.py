"""What all calls have in common: they are timed, counted, and end in a status with words for people."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from ottoscaler.orchestrator.kube_api import is_passing
from ottoscaler.orchestrator.orders import InvalidOrder
from ottoscaler.orchestrator.service.decoding import Malformed
from ottoscaler.orchestrator.telemetry import Telemetry
from ottoscaler.runtime.kube import KubeError
from ottoscaler.runtime.log import get_logger

log = get_logger("grpc")

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


class Refused(Exception):
    """Ends a call with `code` and a message that says what to do."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def refusal(error: Exception) -> Refused:
    """How a caller learns of `error`."""
    match error:
        case Refused():
            return error
        case InvalidOrder():
            return Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        case KubeError() if is_passing(error):
            return Refused(grpc.StatusCode.UNAVAILABLE, "the Kubernetes API cannot be reached now: try again")
        case KubeError(status=403):
            return Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the Kubernetes API refuses this to the orchestrator: {error.message[:300]}",
            )
        case _:
            log.exception("a call failed", error=error)
            return Refused(
                grpc.StatusCode.INTERNAL, "an error that was not expected: the orchestrator's log has it"
            )


def check_decoded(request: Any) -> None:
    """Raises `Refused` for bytes that are no message of the contract."""
    if isinstance(request, Malformed):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, request.words)


Unary = Callable[[Any, Any, Context], Awaitable[T]]
Streaming = Callable[[Any, Any, Context], AsyncIterator[T]]


def unary(method: Unary[T]) -> Unary[T]:
    """A method of a servicer with `_telemetry`, that answers once, or writes its answers to the context."""

    @functools.wraps(method)
    async def measured(self: Any, request: Any, context: Context) -> T:
        started = perf_counter()
        code = "CANCELLED"
        try:
            check_decoded(request)
            answer = await method(self, request, context)
        except Exception as error:  # the border: every error becomes a status
            refused = refusal(error)
            code = refused.code.name
            await context.abort(refused.code, refused.message)
            raise  # abort has raised already
        else:
            code = "OK"
            return answer
        finally:
            _observe(self._telemetry, method.__name__, code, perf_counter() - started)

    return measured


def streaming(method: Streaming[T]) -> Streaming[T]:
    """A method of a servicer with `_telemetry`, that answers with a stream."""

    @functools.wraps(method)
    async def measured(self: Any, request: Any, context: Context) -> AsyncIterator[T]:
        started = perf_counter()
        code = "CANCELLED"
        try:
            check_decoded(request)
            async for answer in method(self, request, context):
                yield answer
        except Exception as error:  # the border: every error becomes a status
            refused = refusal(error)
            code = refused.code.name
            await context.abort(refused.code, refused.message)
            raise  # abort has raised already
        else:
            code = "OK"
        finally:
            _observe(self._telemetry, method.__name__, code, perf_counter() - started)

    return measured


def _observe(telemetry: Telemetry, method: str, code: str, seconds: float) -> None:
    telemetry.grpc.labels(method, code).observe(seconds)


def fail(code: grpc.StatusCode, message: str) -> NoReturn:
    """Ends the call."""
    raise Refused(code, message)
