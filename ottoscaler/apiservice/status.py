"""Refusals and failures as Kubernetes `Status` objects.

The wording is that of k8s.io/apimachinery/pkg/api/errors and apiserver's response writers. None carries
`retryAfterSeconds` or a `Retry-After`: client-go would sleep and ask again inside the call, and one queue
that cannot be read would then hold up the HPA controller's few workers.
"""

from typing import Any

from ottoscaler.apiservice.identity import Attributes, User
from ottoscaler.apiservice.label_names import quote
from ottoscaler.apiservice.response import NO_STORE, Document, Headers

_METHODS: Headers = (*NO_STORE, ("Allow", "GET"))
_CHALLENGE: Headers = (*NO_STORE, ("WWW-Authenticate", "Bearer"))
_TRANSLATED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def failure(
    code: int,
    reason: str,
    message: str,
    *,
    details: dict[str, Any] | None = None,
    headers: Headers = NO_STORE,
) -> Document:
    """A `Status` of failure; `reason` is one of metav1.StatusReason."""
    content: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
    }
    if details is not None:
        content["details"] = details
    return Document({**content, "code": code}, status=code, headers=headers)


NOT_FOUND = failure(404, "NotFound", "the server could not find the requested resource", details={})
METHOD_NOT_ALLOWED = failure(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    details={},
    headers=_METHODS,
)
UNAUTHORIZED = failure(401, "Unauthorized", "Unauthorized", headers=_CHALLENGE)
TIMEOUT = failure(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
INTERNAL_ERROR = failure(500, "InternalError", "Internal error occurred: see the log of the server")
AUTHENTICATION_UNAVAILABLE = failure(
    503,
    "ServiceUnavailable",
    "the server cannot check credentials now: the Kubernetes API does not answer its TokenReview",
)
AUTHORIZATION_UNAVAILABLE = failure(
    503,
    "ServiceUnavailable",
    "the server cannot check permissions now: the Kubernetes API does not answer its SubjectAccessReview",
)


def metric_not_found(message: str) -> Document:
    """404 in the provider's words."""
    return failure(404, "NotFound", message)


def metric_unavailable(message: str) -> Document:
    """503 in the provider's words: the HPA holds, and shows them to people."""
    return failure(503, "ServiceUnavailable", message)


def bad_request(message: str) -> Document:
    """400."""
    return failure(400, "BadRequest", message)


def not_acceptable(available: tuple[str, ...]) -> Document:
    """406."""
    return failure(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {', '.join(available)}",
        details={},
    )


def watch_not_supported(group: str) -> Document:
    """405 to `watch=true`."""
    return failure(
        405,
        "MethodNotAllowed",
        f'watch is not supported on resources of kind "*.{group}"',
        details={"group": group, "kind": "*"},
        headers=_METHODS,
    )


def forbidden(user: User, attributes: Attributes, reason: str) -> Document:
    """403, apiserver's `ForbiddenStatusError`."""
    message = _cannot(user, attributes).translate(_TRANSLATED)
    if reason:
        message = f"{message}: {reason}"
    details: dict[str, Any] = {}
    if attributes.resource is None:
        message = f"forbidden: {message}"
    else:
        resource = ".".join(filter(None, (attributes.resource, attributes.group)))
        named = f" {quote(attributes.name)}" if attributes.name else ""
        message = f"{resource}{named} is forbidden: {message}"
        details = {"name": attributes.name, "group": attributes.group, "kind": attributes.resource}
    details = {key: value for key, value in details.items() if value}
    return failure(403, "Forbidden", message, details=details)


def _cannot(user: User, attributes: Attributes) -> str:
    who = f"User {quote(user.name)} cannot {attributes.verb}"
    if attributes.resource is None:
        return f"{who} path {quote(attributes.path)}"
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    where = (
        f"in the namespace {quote(attributes.namespace)}" if attributes.namespace else "at the cluster scope"
    )
    return f"{who} resource {quote(resource)} in API group {quote(attributes.group)} {where}"
