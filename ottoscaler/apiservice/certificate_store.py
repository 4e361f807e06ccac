"""Where our own certificates are kept: a Secret that all replicas share, or a directory of one process.

A store hands out its content with a version and takes new content only on top of that version, so of
several replicas that renew at once one succeeds and the others adopt what it stored.
"""

import asyncio
import base64
import binascii
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ottoscaler.apiservice.renewal import AUTHORITY_KEY, BUNDLE, CHAIN, KEY
from ottoscaler.runtime.clock import SYSTEM_CLOCK, Clock
from ottoscaler.runtime.files import changes, fingerprint
from ottoscaler.runtime.kube import KubeClient, KubeError

_PARTS = (BUNDLE, AUTHORITY_KEY, CHAIN, KEY)


class StoreError(Exception):
    """The store cannot be read or written now; the message says where and what to do."""


class Superseded(Exception):
    """Somebody else stored something since: load again."""


class Stored(NamedTuple):
    """Content of a store, and the version that a change must be based on."""

    parts: Mapping[str, bytes]
    version: Any


class CertificateStore(Protocol):
    """A place for the parts of `OwnCertificates`."""

    async def load(self) -> Stored:
        """What is stored; no parts when there is nothing yet. Raises `StoreError`."""
        ...

    async def save(self, parts: Mapping[str, bytes], version: Any) -> Stored:
        """Stores `parts` on top of `version`. Raises `Superseded` or `StoreError`."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever the content may have changed."""
        ...


class SecretStore:
    """A Secret. The chart creates it empty, so that its Role needs no `create`, which knows no names."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self._collection}/{name}"

    async def load(self) -> Stored:
        try:
            secret = await self._client.get(self._path)
        except KubeError as error:
            if error.status == 404:
                return Stored({}, None)
            raise self._error("read", error) from error
        return _stored(secret)

    async def save(self, parts: Mapping[str, bytes], version: Any) -> Stored:
        data = {name: base64.b64encode(content).decode() for name, content in parts.items()}
        try:
            if version is None:
                return _stored(await self._client.create(self._collection, self._new(data)))
            secret = {**version, "data": {**(version.get("data") or {}), **data}}
            return _stored(await self._client.replace(self._path, secret))
        except KubeError as error:
            if error.status == 409 or (error.status == 404 and version is not None):
                raise Superseded from error
            raise self._error("written" if version is not None else "created", error) from error

    async def changes(self) -> AsyncIterator[None]:
        watched = self._client.watch(self._collection, {"fieldSelector": f"metadata.name={self._name}"})
        async for _ in watched:
            yield

    def _new(self, data: Mapping[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/name": "ottoscaler"},
            },
            "data": data,
        }

    def _error(self, what: str, error: KubeError) -> StoreError:
        where = f"Secret {self._namespace}/{self._name}"
        if error.status in (401, 403):
            verb = {"read": "get", "written": "update", "created": "create"}[what]
            return StoreError(f"{where} cannot be {what}: allow this service account to {verb} it")
        return StoreError(f"{where} cannot be {what}: {error.status} {error.message}")


class DirectoryStore:
    """Files in a directory that only this user can read."""

    def __init__(self, directory: Path, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._files = {name: directory / name for name in _PARTS}
        self._directory = directory
        self._clock = clock

    async def load(self) -> Stored:
        return await asyncio.to_thread(self._load)

    async def save(self, parts: Mapping[str, bytes], version: Any) -> Stored:
        return await asyncio.to_thread(self._save, parts, version)

    async def changes(self) -> AsyncIterator[None]:
        yield
        async for _ in changes(self._files.values(), clock=self._clock):
            yield

    def _load(self) -> Stored:
        version = fingerprint(self._files.values())
        parts = {}
        for name, file in self._files.items():
            try:
                parts[name] = file.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreError(f"{file} cannot be read: {error.strerror}") from error
        return Stored(parts, version)

    def _save(self, parts: Mapping[str, bytes], version: Any) -> Stored:
        if fingerprint(self._files.values()) != version:
            raise Superseded
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, content in parts.items():
                _replace(self._files[name], content)
        except OSError as error:
            raise StoreError(f"{self._directory} cannot be written: {error.strerror}") from error
        return Stored(dict(parts), fingerprint(self._files.values()))


def _stored(secret: Mapping[str, Any]) -> Stored:
    data = secret.get("data") or {}
    parts = {}
    for name in _PARTS:
        try:
            parts[name] = base64.b64decode(data.get(name, ""), validate=True)
        except binascii.Error:
            continue
    return Stored({name: content for name, content in parts.items() if content}, secret)


def _replace(file: Path, content: bytes) -> None:
    """Readers see the old content or the new. Temporary files are made with mode 0600."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
