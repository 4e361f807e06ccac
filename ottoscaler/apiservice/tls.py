"""The TLS side of the server: certificates that change under a listener that does not.

One context listens for the process's whole life; a callback early in each handshake moves the connection
to the newest context, which was built whole and tested before. So a new certificate or CA holds from the
next handshake on, a broken one never comes into use, and no connection is dropped. Client certificates
are asked for, not required: bearer tokens come without. OpenSSL refuses a certificate of an unknown CA by
an alert in the handshake, since Python has no way to ask for one unverified (docs/decisions/0030).
"""

import os
import ssl
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ottoscaler.apiservice.identity import Connection

_PATHS_KEPT = 512


class CertificateError(Exception):
    """A certificate and key that cannot serve; the message says why and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCertificate:
    """What a server shows: its certificate with intermediates, and the key."""

    chain: bytes
    """PEM, leaf first."""
    key: bytes = field(repr=False)
    """PEM, not encrypted."""

    def leaf(self) -> x509.Certificate:
        """The server's own certificate. Raises `CertificateError`."""
        try:
            return x509.load_pem_x509_certificate(self.chain)
        except ValueError as error:
            raise CertificateError("the certificate is not PEM") from error


class ServerTls:
    """The server's TLS contexts. Until a certificate is given, handshakes fail."""

    def __init__(self) -> None:
        self.context = _context()
        """To listen with."""
        self._certificate: ServingCertificate | None = None
        self._authorities: tuple[x509.Certificate, ...] = ()
        self._newest = self.context
        self._paths: LRUCache[bytes, tuple[bytes, ...]] = LRUCache(_PATHS_KEPT)
        self.context.sni_callback = self._move_to_newest

    @property
    def certificate(self) -> ServingCertificate | None:
        """The certificate that new connections see."""
        return self._certificate

    def use_certificate(self, certificate: ServingCertificate) -> None:
        """New connections see `certificate`. Raises `CertificateError`: then nothing has changed."""
        self._newest = _build(certificate, self._authorities)
        self._certificate = certificate

    def trust(self, authorities: Iterable[x509.Certificate]) -> None:
        """New connections may show client certificates of these CAs and of no others."""
        self._authorities = tuple(authorities)
        if self._certificate is not None:
            self._newest = _build(self._certificate, self._authorities)

    def connection(self, tls: ssl.SSLObject | ssl.SSLSocket, *, remote: str = "") -> Connection:
        """What the finished handshake of `tls` proved about the peer."""
        return Connection(path=self._path(tls), remote=remote)

    def _path(self, tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
        leaf = tls.getpeercert(binary_form=True)
        if leaf is None:
            return ()
        path = _verified_chain(tls)
        if path:
            self._paths[leaf] = path
            return path
        # A resumed TLS 1.2 session proves possession of the certificate again, without its path.
        return self._paths.get(leaf, ())

    def _move_to_newest(
        self, tls: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        tls.context = self._newest


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Tickets carry the client's certificate but not its path, and connections here live for minutes.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = ssl.CERT_OPTIONAL
    # Go takes any certificate of the bundle for an anchor, an intermediate CA too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def _build(certificate: ServingCertificate, authorities: tuple[x509.Certificate, ...]) -> ssl.SSLContext:
    context = _context()
    try:
        with _readable(certificate.chain) as chain, _readable(certificate.key) as key:
            context.load_cert_chain(chain, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError("the key does not belong to the certificate") from error
        raise CertificateError("the certificate or its key is not PEM, or of no use for TLS") from error
    for authority in authorities:
        try:
            context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
        except ssl.SSLError:
            continue  # OpenSSL cannot read it, so no handshake can end in it
    return context


@contextmanager
def _readable(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL can read `content`, in memory where the system can: keys touch no disk."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem")
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name


def _no_password() -> str:
    """Instead of OpenSSL's own question at the terminal."""
    raise CertificateError("the key is encrypted: give it without a passphrase")


def _verified_chain(tls: Any) -> tuple[bytes, ...]:
    """The path that OpenSSL verified, DER, leaf first; empty on a resumed session."""
    if sys.version_info >= (3, 13):
        return tuple(tls.get_verified_chain())
    # Before 3.13 the method exists on the inner object only.
    chain = tls._sslobj.get_verified_chain()
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain or ())
