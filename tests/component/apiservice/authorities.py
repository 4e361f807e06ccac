"""Certificates of every shape that clusters hold, made by `cryptography`, and handshakes in memory."""

import contextlib
import json
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyKind = Literal["ec", "rsa", "ed25519"]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
HOUR = timedelta(hours=1)


def new_key(kind: KeyKind = "ec") -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def subject(common_name: str | None, organisations: tuple[str, ...] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organisations]
    if common_name is not None:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return x509.Name(attributes)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the intermediates that are sent with it."""

    certificate: x509.Certificate
    key: Key
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def chain_pem(self) -> bytes:
        every = (self.certificate, *self.intermediates)
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in every)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def authority(
    name: str,
    *,
    parent: Issued | None = None,
    key: Key | None = None,
    kind: KeyKind = "ec",
    identifiers: bool = True,
    valid: tuple[timedelta, timedelta] = (-HOUR, 24 * HOUR),
) -> Issued:
    """A CA, self-signed or under `parent`."""
    key = key or new_key(kind)
    signer = parent.key if parent else key
    builder = _builder(subject(name), parent.certificate.subject if parent else subject(name), key, valid)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if identifiers:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    certificate = _sign(builder, signer)
    return Issued(certificate, key, (certificate,) if parent else ())


def leaf(
    ca: Issued,
    common_name: str | None,
    *,
    organisations: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    kind: KeyKind = "ec",
    identifiers: bool = True,
    usages: tuple[x509.ObjectIdentifier, ...] = (CLIENT,),
    valid: tuple[timedelta, timedelta] = (-HOUR, 24 * HOUR),
) -> Issued:
    """An end-entity certificate under `ca`."""
    key = new_key(kind)
    builder = _builder(subject(common_name, organisations), ca.certificate.subject, key, valid)
    if identifiers:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False
        )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return Issued(_sign(builder, ca.key), key, ca.intermediates)


def _builder(
    name: x509.Name, issuer: x509.Name, key: Key, valid: tuple[timedelta, timedelta]
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
    )


def _sign(builder: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def client_context(
    certificate: Issued | None = None,
    *,
    trusting: Issued | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """A client's side; it checks the server only when told whom to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=trusting.pem)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "client.pem")
            file.write_bytes(certificate.chain_pem + certificate.key_pem)
            context.load_cert_chain(file)
    return context


@dataclass
class Handshake:
    """Both ends of a TLS connection in memory, after the handshake."""

    client: ssl.SSLObject
    server: ssl.SSLObject
    client_context: ssl.SSLContext


def shake_hands(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    *,
    session: ssl.SSLSession | None = None,
    server_hostname: str | None = None,
) -> Handshake:
    """A full handshake and one byte of data each way. Raises the `ssl.SSLError` of the end that refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, session=session, server_hostname=server_hostname)
    for _ in range(6):
        for end in (theirs, ours):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    theirs.write(b"?")
    assert ours.read(1) == b"?"
    ours.write(b"!")
    assert theirs.read(1) == b"!"
    return Handshake(theirs, ours, client)


def configmap_data(
    *,
    front_proxy: tuple[Issued, ...] = (),
    clients: tuple[Issued, ...] = (),
    allowed_names: tuple[str, ...] = ("front-proxy-client",),
) -> dict[str, str]:
    """The data of kube-system/extension-apiserver-authentication as kube-apiserver writes it."""
    data = {"client-ca-file": "".join(ca.pem for ca in clients)} if clients else {}
    if front_proxy:
        data |= {
            "requestheader-client-ca-file": "".join(ca.pem for ca in front_proxy),
            "requestheader-allowed-names": json.dumps(allowed_names),
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-uid-headers": '["X-Remote-Uid"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
    return data
