"""The adapter's replicas among themselves: one reads what costs money, the others take its readings.

The holder of a Lease reads. What it has read goes into a ConfigMap, a key for each queue, a moment later
and all together; the others look there every few seconds, which costs nothing. Neither exists before a
source asks for the first time, so that a configuration without such queues makes no call.
"""

import asyncio
import os
import secrets
import socket
from typing import Any, Protocol

import msgspec

from ottoscaler.adapter.reading import Reading
from ottoscaler.runtime.clock import Clock
from ottoscaler.runtime.kube import KubeError, PatchKind
from ottoscaler.runtime.lease import Lease
from ottoscaler.runtime.log import get_logger

log = get_logger("replicas")

_GATHER = 0.25
"""Seconds in which readings are gathered before they are written together."""
_LOOK_EVERY = 2.0
"""Seconds for which the others' view of the ConfigMap is good enough."""
_MOST_BYTES = 200 * 1024
"""A ConfigMap holds 1 MiB; a longer reading is offered without the names of the holders."""


class _Offer(msgspec.Struct, frozen=True):
    """What the ConfigMap holds of a queue."""

    reading: Reading
    meaning: str
    """As in `Queue`."""


class SharingClient(Protocol):
    """The calls of `KubeClient` that are needed here."""

    async def get(self, path: str) -> Any: ...

    async def create(self, path: str, body: Any) -> Any: ...

    async def replace(self, path: str, body: Any) -> Any: ...

    async def patch(self, path: str, body: Any, *, kind: PatchKind = "merge") -> Any: ...


class Replicas:
    """A `Sharing` among the replicas that know `name` in `namespace`. `run` must be running meanwhile."""

    def __init__(
        self, kube: SharingClient, *, namespace: str, name: str, clock: Clock, identity: str | None = None
    ) -> None:
        self._kube = kube
        self._name = name
        self._namespace = namespace
        self._clock = clock
        self._lease = Lease(
            kube, namespace=namespace, name=name, identity=identity or _identity(), clock=clock
        )
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._wanted = asyncio.Event()
        self._offers: dict[str, str] = {}
        self._offered = asyncio.Event()
        self._taken: dict[str, str] = {}
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()
        self._said = ""

    def reads(self) -> bool:
        """Whether this replica holds the Lease, and has renewed it in time."""
        self._wanted.set()
        return self._lease.valid

    async def give(self, reading: Reading, meaning: str) -> None:
        self._offers[reading.queue] = _encode(_Offer(reading, meaning))
        self._offered.set()

    async def take(self, queue: str, meaning: str) -> Reading | None:
        async with self._looking:
            await self._look()
        try:
            offer = msgspec.json.decode(self._taken[queue], type=_Offer)
        except (KeyError, msgspec.DecodeError):
            return None
        return offer.reading if offer.meaning == meaning else None

    async def run(self) -> None:
        """Seeks the Lease from the first question on, and writes what is offered while it is held."""
        await self._wanted.wait()
        await self._lease.run(self._write)

    async def _write(self) -> None:
        log.info("this replica reads for all", lease=self._name)
        while True:
            while not self._offers:
                self._offered.clear()
                await self._offered.wait()
            await self._clock.sleep(_GATHER)
            offers = dict(self._offers)
            try:
                await self._store(offers)
            except KubeError as error:
                self._complain("readings cannot be offered to the other replicas", error)
                await self._clock.sleep(_LOOK_EVERY)
                continue
            self._said = ""
            for queue, text in offers.items():
                if self._offers[queue] is text:  # no newer one came meanwhile
                    del self._offers[queue]

    async def _store(self, offers: dict[str, str]) -> None:
        try:
            await self._kube.patch(f"{self._collection}/{self._name}", {"data": offers}, kind="merge")
        except KubeError as error:
            if error.status != 404:
                raise
            metadata = {"name": self._name, "namespace": self._namespace}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": offers}
            await self._kube.create(self._collection, body)

    async def _look(self) -> None:
        now = self._clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        try:
            found = await self._kube.get(f"{self._collection}/{self._name}")
            self._taken = dict(found.get("data") or {})
        except KubeError as error:
            # what was taken before ages, and is refused when it is too old
            if error.status != 404:
                self._complain("the readings of the other replicas cannot be taken", error)

    def _complain(self, what: str, error: KubeError) -> None:
        if self._said != error.message:
            self._said = error.message
            log.warning(what, configmap=self._name, error=error)


def _encode(offer: _Offer) -> str:
    text = msgspec.json.encode(offer).decode()
    if len(text) > _MOST_BYTES:
        reading = msgspec.structs.replace(offer.reading, held=())
        return msgspec.json.encode(_Offer(reading, offer.meaning)).decode()
    return text


def _identity() -> str:
    """Unique among processes, as client-go's: the pod's name and something random."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{secrets.token_hex(4)}"
