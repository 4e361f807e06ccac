"""Making the adapter known to the cluster's aggregator, and making it unknown again.

In a cluster the chart does this. Here it is done for an adapter that runs elsewhere: a Service without a
selector and an EndpointSlice lead to its address, and the APIService to that Service. What belongs to
somebody else is left alone unless force is asked for in so many words.
"""

import base64
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from ottoscaler.apiservice.objects import find, put, remove
from ottoscaler.apiservice.outside import LABELS, ExternalAddress, OutsideError, lead_outside, remove_outside
from ottoscaler.apiservice.ownership import (
    API_SERVICE,
    GROUP,
    VERSION,
    Owner,
    ServiceReference,
    is_ours,
    owner_of,
    service_of,
)
from ottoscaler.runtime.kube import KubeClient, KubeError

API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
PRIORITY = 100
"""groupPriorityMinimum and versionPriority."""

_ATTEMPTS = 8

IfForeign = Literal["refuse", "take"]


class RegistrationError(Exception):
    """Registration was refused or failed; one line that says what to do."""


class ForeignOwner(RegistrationError):
    """The API belongs to another product."""

    def __init__(self, owner: Owner, *, todo: str) -> None:
        super().__init__(f"{API_SERVICE} belongs to {owner}: {todo}")
        self.owner = owner


class RegistrationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster knows of the external-metrics API."""

    registered: bool
    owner: Owner | None = None
    available: bool | None = None
    """The aggregator's judgement; None: not yet made."""
    reason: str = ""
    message: str = ""
    verifies: bool | None = None
    """Whether the aggregator verifies the server's certificate by a `caBundle`."""
    service_exists: bool | None = None


def api_service(service: ServiceReference, *, ca_bundle: bytes) -> dict[str, Any]:
    """The APIService that leads to `service`; `ca_bundle` is PEM."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API_SERVICE, "labels": dict(LABELS)},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": PRIORITY,
            "versionPriority": PRIORITY,
            "service": {"namespace": service.namespace, "name": service.name, "port": service.port},
            "insecureSkipTLSVerify": False,
            "caBundle": base64.b64encode(ca_bundle).decode(),
        },
    }


async def register(
    client: KubeClient,
    *,
    service: ServiceReference,
    ca_bundle: bytes,
    external: ExternalAddress | None = None,
    if_foreign: IfForeign = "refuse",
) -> None:
    """Makes the aggregator send external-metrics requests to `service`, verified by `ca_bundle` (PEM).

    With `external`, the Service is made (or changed) to lead to that address. Can be repeated. Raises
    `ForeignOwner` and changes nothing when another product owns the API, unless `if_foreign` is `take`.
    """
    if not ca_bundle.strip():
        raise RegistrationError("no CA bundle: the aggregator could not verify the adapter's certificate")
    for attempt in range(_ATTEMPTS):
        try:
            found = await find(client, f"{API_SERVICES}/{API_SERVICE}")
            if found is not None and not is_ours(found, service) and if_foreign == "refuse":
                raise await _foreign(client, found)
            if external is not None:
                await lead_outside(client, service, external)
            await put(client, API_SERVICES, api_service(service, ca_bundle=ca_bundle), found)
        except OutsideError as error:
            raise RegistrationError(str(error)) from error
        except KubeError as error:
            # The aggregator writes the object's status as it likes; whose it is must be looked at again.
            if error.status != 409 or attempt + 1 == _ATTEMPTS:
                raise _failed("register", error) from error
        else:
            return


async def unregister(
    client: KubeClient, *, service: ServiceReference, if_foreign: IfForeign = "refuse"
) -> bool:
    """Removes the APIService first, so that nobody is sent to a Service that is gone, then what
    `register` made for an external address. False: there was nothing.

    Raises `ForeignOwner` when another product owns the API, unless `if_foreign` is `take`.
    """
    try:
        found = await find(client, f"{API_SERVICES}/{API_SERVICE}")
        if found is not None and not is_ours(found, service) and if_foreign == "refuse":
            raise ForeignOwner(owner_of(found), todo="it is not ours to remove")
        if found is not None:
            # The uid keeps us from removing what somebody registered in the meantime.
            precondition = {"preconditions": {"uid": found["metadata"]["uid"]}}
            await remove(client, f"{API_SERVICES}/{API_SERVICE}", precondition)
        removed = await remove_outside(client, service)
    except KubeError as error:
        raise _failed("unregister", error) from error
    return found is not None or removed


async def status(client: KubeClient) -> RegistrationStatus:
    """What the cluster knows. Raises `RegistrationError` when it cannot be asked."""
    try:
        found = await find(client, f"{API_SERVICES}/{API_SERVICE}")
        if found is None:
            return RegistrationStatus(registered=False, message=f"there is no APIService {API_SERVICE}")
        exists = await _service_exists(client, service_of(found))
    except KubeError as error:
        raise _failed("read", error) from error
    conditions = (found.get("status") or {}).get("conditions") or []
    available: dict[str, str] = next((item for item in conditions if item.get("type") == "Available"), {})
    spec = found["spec"]
    return RegistrationStatus(
        registered=True,
        owner=owner_of(found),
        available={"True": True, "False": False}.get(available.get("status", "")),
        reason=available.get("reason", ""),
        message=available.get("message", ""),
        verifies=bool(spec.get("caBundle")) and not spec.get("insecureSkipTLSVerify"),
        service_exists=exists,
    )


async def _foreign(client: KubeClient, found: Mapping[str, Any]) -> ForeignOwner:
    owner = owner_of(found)
    if await _service_exists(client, owner.service) is False:
        todo = "that Service does not exist, so it seems to be left over; delete the APIService, or register by force"
    else:
        todo = "uninstall its external-metrics API first, or register by force (its HPAs then lose their metrics)"
    return ForeignOwner(owner, todo=todo)


async def _service_exists(client: KubeClient, service: ServiceReference | None) -> bool | None:
    """None: cannot be told (no Service is named, or we may not look)."""
    if service is None:
        return None
    try:
        path = f"/api/v1/namespaces/{service.namespace}/services/{service.name}"
        return await find(client, path) is not None
    except KubeError as error:
        if error.status == 403:
            return None
        raise


def _failed(what: str, error: KubeError) -> RegistrationError:
    if error.status in (401, 403):
        return RegistrationError(f"cannot {what} {API_SERVICE}: {error.message}")
    if error.status == 409:
        return RegistrationError(
            f"cannot {what} {API_SERVICE}: somebody changed it at this moment; try again"
        )
    return RegistrationError(f"cannot {what} {API_SERVICE}: {error.status or 'unreachable'} {error.message}")
