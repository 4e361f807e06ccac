"""Whom a cluster tells its extension API servers to believe.

kube-apiserver publishes in ConfigMap `kube-system/extension-apiserver-authentication` which CA signs the
front proxy's certificate, which names it may have, in which headers it passes the caller on, and which CA
signs the cluster's client certificates. Here that text becomes a `Trust`: immutable, complete and checked
before anything uses it, so that half of an update is never in force.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMESPACE: Final = "kube-system"
NAME: Final = "extension-apiserver-authentication"

Anchors = frozenset[bytes]
"""Trust anchors as RFC 5280 defines them, a name and a public key (`anchor_of`): a CA that is renewed with
its key is the same anchor, and one that borrows another's name is not."""

UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What cryptography raises for certificates that it cannot read, for want of a common base."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class TrustError(Exception):
    """The published configuration cannot be used; the message names the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeaders:
    """The names of the header fields that a front proxy uses, in the order in which they count."""

    username: tuple[str, ...]
    uid: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontProxy:
    """Who may speak for others, and how."""

    anchors: Anchors
    allowed_names: frozenset[str]
    """Common names that the proxy's certificate may have; empty: any."""
    headers: RequestHeaders

    def allows(self, common_name: str) -> bool:
        return not self.allowed_names or common_name in self.allowed_names


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """One generation of what the cluster published; compared by identity."""

    front_proxy: FrontProxy | None = None
    client_anchors: Anchors = frozenset()
    authorities: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    """Every CA of both kinds, without repetition: what a TLS handshake may accept."""


NOBODY: Final = Trust()
"""Before anything is known: no certificate is worth anything."""


def anchor_of(certificate: x509.Certificate) -> bytes:
    """The subject and the public key, in DER."""
    return certificate.subject.public_bytes() + certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def read_trust(data: Mapping[str, str]) -> Trust:
    """The ConfigMap's `data` as a `Trust`. Raises `TrustError` when any part of it is broken.

    Keys and formats: k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust.
    """
    clients = _certificates(data, "client-ca-file")
    proxies = _certificates(data, "requestheader-client-ca-file")
    if not clients and not proxies:
        raise TrustError("it holds neither client-ca-file nor requestheader-client-ca-file")
    return Trust(
        front_proxy=_front_proxy(data, proxies) if proxies else None,
        client_anchors=_anchors("client-ca-file", clients),
        authorities=tuple(dict.fromkeys((*proxies, *clients))),
    )


def ambiguous_names(authorities: Iterable[x509.Certificate]) -> tuple[str, ...]:
    """Subjects that several CAs with different keys share.

    A client certificate without an authority key identifier fits each of them by name alone, and OpenSSL
    tries only the first (crypto/x509/x509_lu.c), so that it may refuse one that is good.
    """
    keys: dict[str, set[bytes]] = {}
    for authority in authorities:
        keys.setdefault(authority.subject.rfc4514_string(), set()).add(anchor_of(authority))
    return tuple(sorted(name for name, anchors in keys.items() if len(anchors) > 1))


def _front_proxy(data: Mapping[str, str], authorities: list[x509.Certificate]) -> FrontProxy:
    if "requestheader-allowed-names" not in data:
        raise TrustError("requestheader-allowed-names is missing (kube-apiserver writes [] for any name)")
    headers = RequestHeaders(
        username=_header_names(data, "requestheader-username-headers"),
        uid=_header_names(data, "requestheader-uid-headers"),
        group=_header_names(data, "requestheader-group-headers"),
        extra_prefixes=_header_names(data, "requestheader-extra-headers-prefix"),
    )
    if not headers.username:
        raise TrustError("requestheader-username-headers names no header")
    return FrontProxy(
        anchors=_anchors("requestheader-client-ca-file", authorities),
        allowed_names=frozenset(_strings(data, "requestheader-allowed-names")),
        headers=headers,
    )


def _certificates(data: Mapping[str, str], key: str) -> list[x509.Certificate]:
    text = data.get(key, "")
    if not text.strip():
        return []
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise TrustError(f"{key} is not a list of PEM certificates") from error


def _anchors(key: str, certificates: list[x509.Certificate]) -> Anchors:
    try:
        return frozenset(anchor_of(certificate) for certificate in certificates)
    except UNREADABLE as error:
        raise TrustError(f"{key} holds a certificate whose key cannot be read: {error}") from error


def _strings(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    text = data.get(key, "")
    if not text:
        return ()
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError as error:
        raise TrustError(f"{key} is not a JSON list of strings") from error


def _header_names(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    names = _strings(data, key)
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise TrustError(f"{key} holds {name!r}, which is no header name")
    return names
