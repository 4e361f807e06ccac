"""Uninstalling: nobody is ever sent to a Service that is gone.

Contract: external-metrics-api.md, "Registration" ("Uninstall removes the APIService first").
"""

from typing import Any, cast

import pytest

from ottoscaler.apiservice.outside import LABELS
from ottoscaler.apiservice.ownership import ServiceReference
from ottoscaler.apiservice.registration import API_SERVICES, ForeignOwner, RegistrationError, unregister
from ottoscaler.runtime.kube import KubeClient, KubeError

SERVICE = ServiceReference(namespace="queues", name="adapter")


class Server:
    """An API server with our objects that notes what is deleted, and under which condition."""

    def __init__(self, *, leads_to: str = "adapter", refuses: int | None = None) -> None:
        spec = {"service": {"namespace": "queues", "name": leads_to}}
        self._api_service = {"metadata": {"uid": "u-1"}, "spec": spec}
        self._refuses = refuses
        self.deleted: list[tuple[str, Any]] = []

    async def get(self, path: str) -> Any:
        return self._api_service if path.startswith(API_SERVICES) else {"metadata": {"labels": LABELS}}

    async def delete(self, path: str, body: Any = None) -> Any:
        if self._refuses is not None:
            raise KubeError(status=self._refuses, reason="", message="the server's words")
        self.deleted.append((path.split("/")[-2], body))


async def test_the_api_service_goes_first_and_only_if_it_is_still_the_one_that_was_looked_at() -> None:
    server = Server()
    assert await unregister(cast("KubeClient", server), service=SERVICE)
    assert server.deleted == [
        ("apiservices", {"preconditions": {"uid": "u-1"}}),
        ("services", None),
        ("endpointslices", None),
    ]


async def test_nothing_is_deleted_when_it_leads_elsewhere() -> None:
    server = Server(leads_to="keda-operator-metrics-apiserver")
    with pytest.raises(ForeignOwner, match="KEDA"):
        await unregister(cast("KubeClient", server), service=SERVICE)
    assert server.deleted == []


@pytest.mark.parametrize(
    ("status", "words"), [(403, "the server's words"), (409, "try again"), (0, "unreachable")]
)
async def test_a_refusal_is_one_line_that_says_what_could_not_be_done(status: int, words: str) -> None:
    with pytest.raises(RegistrationError, match=f"cannot unregister .*{words}") as failed:
        await unregister(cast("KubeClient", Server(refuses=status)), service=SERVICE)
    assert "\n" not in str(failed.value)
