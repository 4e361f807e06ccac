"""The cluster's trust configuration, followed live.

Front-proxy and client CAs rotate while the process runs, and adapters that read them once have failed
whole clusters a day later. So the ConfigMap is watched; an update that is broken is refused in one clear
line and the last good one stays in force, as it does while the API server is away or the ConfigMap gone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.trust import (
    NAME,
    NAMESPACE,
    NOBODY,
    Trust,
    TrustError,
    ambiguous_names,
    read_trust,
)
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.kube import KubeError, WatchEvent
from ottoscaler.runtime.log import get_logger

_COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_WHERE = f"ConfigMap {NAMESPACE}/{NAME}"

log = get_logger("delegation")


class TrustClient(Protocol):
    """The part of `KubeClient` that is needed here."""

    async def get(self, path: str) -> Any: ...

    def watch(self, path: str, params: Mapping[str, str]) -> AsyncIterator[WatchEvent]: ...


class ClusterTrust:
    """Holds the newest good `Trust`; `on_change` hears of each new one."""

    def __init__(
        self,
        *,
        metrics: SecurityMetrics,
        on_change: Callable[[Trust], None] = lambda _: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._metrics = metrics
        self._on_change = on_change
        self._clock = clock
        self._current = NOBODY
        self._data: Mapping[str, str] | None = None
        self.refused: str | None = None
        """What is wrong with the newest configuration; None: nothing."""
        self.known = asyncio.Event()
        """Set from the first good configuration on."""

    def current(self) -> Trust:
        """The generation in force."""
        return self._current

    async def follow(self, client: TrustClient) -> None:
        """Keeps up with the ConfigMap until cancelled."""
        await self._explain_absence(client)
        watched = client.watch(_COLLECTION, {"fieldSelector": f"metadata.name={NAME}"})
        async for event in watched:
            if event.type == "DELETED" or (event.type == "SYNC" and not event.object):
                self._refuse("it is gone")
            else:
                self.update(event.object[0] if event.type == "SYNC" else event.object)

    def update(self, configmap: Mapping[str, Any]) -> None:
        """Takes the ConfigMap over if it is good and differs, else says what is wrong with it."""
        data: Mapping[str, str] = configmap.get("data") or {}
        if data == self._data:
            if self.refused is not None:
                self._take(self._current)  # a broken update was taken back
            return
        try:
            trust = read_trust(data)
        except TrustError as error:
            self._refuse(str(error))
            return
        self._data = dict(data)
        for name in ambiguous_names(trust.authorities):
            log.warning(
                "two CAs share a name: clients whose certificates lack an authority key identifier may be refused",
                configmap=_WHERE,
                subject=name,
            )
        self._take(trust)
        log.info(
            "trust configuration in force",
            configmap=_WHERE,
            front_proxy=trust.front_proxy is not None,
            authorities=len(trust.authorities),
        )

    def _take(self, trust: Trust) -> None:
        self.refused = None
        if trust is not self._current:
            self._current = trust
            self._on_change(trust)
        self._metrics.trust_loaded(self._clock.time())
        self.known.set()

    def _refuse(self, why: str) -> None:
        self._metrics.trust_refused()
        if why == self.refused:
            return
        self.refused = why
        kept = "the last good one stays in force" if self.known.is_set() else "nobody can be authenticated"
        log.error("trust configuration refused", configmap=_WHERE, error=why, effect=kept)

    async def _explain_absence(self, client: TrustClient) -> None:
        """The watch retries for ever and knows nothing of roles: what a person must do is said here, once."""
        try:
            self.update(await client.get(f"{_COLLECTION}/{NAME}"))
        except KubeError as error:
            remedy = (
                f"bind the Role extension-apiserver-authentication-reader of {NAMESPACE} to this service account"
                if error.status in (401, 403)
                else "waiting for it"
            )
            self._refuse(f"{error.message}: {remedy}")
