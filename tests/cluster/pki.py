"""Certificates of a cluster that lives for an afternoon, and of whoever wants to be let in or kept out.

One CA for servers, users and kubelet, one for the front proxy, as kubeadm does. Tests make further
authorities and leaves with the same two calls.
"""

import base64
import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.addresses import API_SERVER, API_SERVICE_IP, NODE, NODE_IP

FRONT_PROXY_NAME = "front-proxy-client"
_LIFE = datetime.timedelta(days=2)

USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("admin", ("system:masters",)),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "proxy": ("system:kube-proxy", ()),
    "kubelet": (f"system:node:{NODE}", ("system:nodes",)),
}
"""File name to user name and groups."""


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _validity() -> tuple[datetime.datetime, datetime.datetime]:
    now = datetime.datetime.now(datetime.UTC)
    return now - datetime.timedelta(minutes=5), now + _LIFE


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Writes `name.crt` and `name.key`; their paths."""
        certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str) -> Self:
        """A self-signed authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin, end = _validity()
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=True,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder(
                subject, subject, key.public_key(), x509.random_serial_number(), begin, end
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path, name: str) -> Self:
        """The authority in `name.crt` and `name.key`."""
        certificate = x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, directory: Path, name: str) -> None:
        """Writes `name.crt` and `name.key`."""
        Pair(self.pem, _pem(self.key)).write(directory, name)

    def issue(self, name: str, *, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Pair:
        """A leaf for a client (`name`, `groups`) and, given `hosts` (names or addresses), for a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begin, end = _validity()
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            x509.CertificateBuilder(
                self.certificate.subject, subject, key.public_key(), x509.random_serial_number(), begin, end
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False
            )
        return Pair(
            builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)
        )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def kubeconfig(authority: bytes, user: Pair | str) -> str:
    """A kubeconfig (JSON is YAML) for the cluster, for a client certificate or a bearer token."""
    if isinstance(user, str):
        credentials: dict[str, str] = {"token": user}
    else:
        credentials = {
            "client-certificate-data": base64.b64encode(user.certificate).decode(),
            "client-key-data": base64.b64encode(user.key).decode(),
        }
    server = {
        "server": API_SERVER,
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "user", "user": credentials}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        }
    )


def make(directory: Path) -> None:
    """All files of a new cluster."""
    directory.mkdir(parents=True, exist_ok=True)
    authority, front_proxy = Authority.create("ca"), Authority.create("front-proxy-ca")
    authority.write(directory, "ca")
    front_proxy.write(directory, "front-proxy-ca")
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
    hosts = (*names, "kubernetes.default.svc.cluster.local", "127.0.0.1", API_SERVICE_IP, NODE_IP)
    authority.issue("kube-apiserver", hosts=hosts).write(directory, "apiserver")
    authority.issue(NODE, hosts=(NODE, NODE_IP)).write(directory, "kubelet-server")
    client = authority.issue("kube-apiserver-kubelet-client", groups=("system:masters",))
    client.write(directory, "apiserver-kubelet-client")
    front_proxy.issue(FRONT_PROXY_NAME).write(directory, "front-proxy-client")
    for file, (user, groups) in USERS.items():
        pair = authority.issue(user, groups=groups)
        pair.write(directory, file)
        (directory / f"{file}.kubeconfig").write_text(kubeconfig(authority.pem, pair))
    signing = rsa.generate_private_key(65537, 2048)
    (directory / "service-account.key").write_bytes(_pem(signing))
    (directory / "service-account.pub").write_bytes(
        signing.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
