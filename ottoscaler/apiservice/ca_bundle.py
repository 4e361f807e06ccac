"""Keeping the APIService's `caBundle` in step with our own CA.

The chart creates the APIService without a `caBundle` and never sets one, so that a Helm upgrade and this
keeper do not fight over the field: the one owns the rest, the other owns `caBundle` alone. Whoever else
changes it (a GitOps tool that restores, a person) is corrected at once; an APIService that leads to
somebody else's Service is left alone.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cryptography import x509

from ottoscaler.apiservice.ownership import API_SERVICE, ServiceReference, is_ours, owner_of
from ottoscaler.apiservice.registration import API_SERVICES
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.trust import UNREADABLE
from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.log import get_logger
from ottoscaler.runtime.tasks import Backoff

_PATH = f"{API_SERVICES}/{API_SERVICE}"

log = get_logger("registration")


class CaBundleKeeper:
    """Patches `caBundle` whenever it is not what `want` said last."""

    def __init__(self, client: KubeClient, *, service: ServiceReference, metrics: SecurityMetrics) -> None:
        self._client = client
        self._service = service
        self._metrics = metrics
        self._wanted = b""
        self._looked = False
        self._found: Mapping[str, Any] | None = None
        self._published: frozenset[x509.Certificate] = frozenset()
        self._look = asyncio.Event()
        self.failing: str | None = None
        """Why the caBundle is not kept right; None: it is."""

    def want(self, bundle: bytes) -> None:
        """The CAs (PEM) that the aggregator is to trust from now on."""
        self._wanted = bundle
        self._look.set()

    def published(self, authority: x509.Certificate) -> bool:
        """Whether the APIService has been seen to trust `authority`."""
        return authority in self._published

    async def run(self) -> None:
        """Keeps `caBundle` right until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            delays = Backoff(initial=0.2, maximum=30.0)
            while True:
                await self._look.wait()
                self._look.clear()
                try:
                    await self._correct()
                except KubeError as error:
                    self._fail(f"it cannot be patched: {error}")
                    await asyncio.sleep(delays.next())
                    self._look.set()
                else:
                    delays.reset()

    async def _follow(self) -> None:
        watched = self._client.watch(API_SERVICES, {"fieldSelector": f"metadata.name={API_SERVICE}"})
        async for event in watched:
            if event.type == "SYNC":
                self._looked = True
                self._found = event.object[0] if event.object else None
            else:
                self._found = None if event.type == "DELETED" else event.object
            self._published = _authorities(self._found)
            self._look.set()

    async def _correct(self) -> None:
        found = self._found
        if not (self._wanted and self._looked):
            return
        if found is None:
            self._fail("there is no APIService, so nobody is sent here")
        elif not is_ours(found, self._service):
            self._fail(f"the APIService belongs to {owner_of(found)} and is left alone")
        elif found["spec"].get("insecureSkipTLSVerify"):
            self._fail("the APIService says insecureSkipTLSVerify: remove that to be protected by our CA")
        elif _decoded(found) != self._wanted:
            bundle = base64.b64encode(self._wanted).decode()
            version = found["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "spec": {"caBundle": bundle}}
            try:
                await self._client.patch(_PATH, body, params={"fieldManager": "ottoscaler"})
            except KubeError as error:
                if error.status not in (404, 409):
                    raise
                return  # it changed under our hands; the watch tells
            self._well()
            log.info("caBundle patched", service=str(self._service))
        else:
            self._well()

    def _well(self) -> None:
        self.failing = None
        self._metrics.registration_failing(failing=False)

    def _fail(self, why: str) -> None:
        self._metrics.registration_failing(failing=True)
        if why != self.failing:
            self.failing = why
            log.warning("caBundle not kept", api_service=API_SERVICE, error=why)


def _decoded(api_service: Mapping[str, Any] | None) -> bytes:
    spec = (api_service or {}).get("spec") or {}
    try:
        return base64.b64decode(spec.get("caBundle") or "")
    except binascii.Error:
        return b""


def _authorities(api_service: Mapping[str, Any] | None) -> frozenset[x509.Certificate]:
    bundle = _decoded(api_service)
    try:
        return frozenset(x509.load_pem_x509_certificates(bundle)) if bundle.strip() else frozenset()
    except UNREADABLE:
        return frozenset()
