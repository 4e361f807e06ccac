"""What a connection's client certificate says, and whom it makes its holder.

The TLS handshake has verified the path from the certificate to one of the CAs that were trusted then
(OpenSSL: signatures, purpose, constraints). What remains to be asked at every request is cheap: is the
time still within every certificate's validity, and is one of the path's CAs still an anchor of the
purpose in question?
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from ottoscaler.apiservice.identity import User, extra_of
from ottoscaler.apiservice.request_header import with_general_group
from ottoscaler.apiservice.trust import UNREADABLE, Anchors, anchor_of

_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")


class CertificateRefused(Exception):
    """The certificate verified, yet says nothing that can be used; the text is for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """A verified client certificate."""

    common_name: str
    anchors: Anchors
    """Every certificate of the path that might be a trust anchor."""
    not_before: float
    """The latest start of validity in the path: seconds since the epoch."""
    not_after: float
    """The earliest end."""
    user: User | None
    """Whom it identifies when it is a user's; None without a common name."""

    def valid_at(self, now: float) -> bool:
        return self.not_before <= now <= self.not_after


def read_path(path: Sequence[bytes]) -> PeerCertificate:
    """The facts of a verified certification path (DER, leaf first). Raises `CertificateRefused`."""
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in path]
        leaf = certificates[0]
        return PeerCertificate(
            common_name=_common_name(leaf),
            anchors=frozenset(anchor_of(certificate) for certificate in certificates),
            not_before=max(certificate.not_valid_before_utc.timestamp() for certificate in certificates),
            not_after=min(certificate.not_valid_after_utc.timestamp() for certificate in certificates),
            user=_user(leaf, path[0]),
        )
    except UNREADABLE as error:  # OpenSSL reads more than cryptography does
        raise CertificateRefused(f"the client certificate cannot be read: {error}") from error


def _values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    values = (attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid))
    return [value if isinstance(value, str) else value.decode("latin-1") for value in values]


def _common_name(certificate: x509.Certificate) -> str:
    """The last one when there are several, as Go's crypto/x509/pkix has it."""
    names = _values(certificate, NameOID.COMMON_NAME)
    return names[-1] if names else ""


def _user(certificate: x509.Certificate, der: bytes) -> User | None:
    """CommonNameUserConversion of k8s.io/apiserver/pkg/authentication/request/x509/x509.go."""
    name = _common_name(certificate)
    if not name:
        return None
    uids = _values(certificate, _UID)
    if len(uids) > 1 or uids == [""]:
        raise CertificateRefused("the client certificate's subject has no single user id")
    return with_general_group(
        User(
            name=name,
            uid=uids[0] if uids else "",
            groups=tuple(_values(certificate, NameOID.ORGANIZATION_NAME)),
            extra=extra_of({_CREDENTIAL_ID: ["X509SHA256=" + hashlib.sha256(der).hexdigest()]}),
        )
    )
