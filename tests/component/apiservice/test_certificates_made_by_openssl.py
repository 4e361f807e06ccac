"""Client certificates as people make them by hand with openssl: old versions, no key identifiers, RSA."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from tests.component.apiservice.authorities import Issued, authority, client_context, shake_hands
from tests.component.apiservice.secured import AS_ADMIN, SecuredServer

CLUSTER = authority("kubernetes")
_KEYS = {
    "rsa": ("-newkey", "rsa:2048"),
    "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "ed25519": ("-newkey", "ed25519"),
}


class Handmade:
    """A front-proxy CA and a client certificate of it, made in a directory by the openssl command."""

    def __init__(self, directory: Path, *, key: str) -> None:
        self.directory = directory
        self._key = _KEYS[key]
        (directory / "openssl.cnf").write_text(
            "[req]\ndistinguished_name=name\n[name]\n[ca]\nbasicConstraints=critical,CA:TRUE\n"
        )

    def _openssl(self, *arguments: str) -> None:
        command = ["openssl", *arguments]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True, timeout=60)

    def make(self, extensions: str | None = None) -> Path:
        """The path of a file with the client's certificate and key."""
        self._openssl(
            *("req", "-x509", "-nodes", "-config", "openssl.cnf", "-extensions", "ca", *self._key),
            *("-subj", "/CN=front-proxy-ca", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt"),
        )
        self._openssl(
            *("req", "-nodes", "-config", "openssl.cnf", *self._key),
            *("-subj", "/CN=front-proxy-client", "-keyout", "client.key", "-out", "client.csr"),
        )
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1"]
        if extensions is not None:
            (self.directory / "client.ext").write_text(extensions)
            signing += ["-extfile", "client.ext"]
        self._openssl("x509", "-req", "-in", "client.csr", "-out", "client.crt", *signing)
        both = self.directory / "client.pem"
        parts = [(self.directory / name).read_bytes() for name in ("client.crt", "client.key")]
        both.write_bytes(b"".join(parts))
        return both

    def authority(self) -> Issued:
        """The CA as it is published; its key stays in the directory."""
        certificate = x509.load_pem_x509_certificate((self.directory / "ca.crt").read_bytes())
        return Issued(certificate, CLUSTER.key)


_EXTENSIONS = {
    "version-1": None,
    "no-identifiers": "extendedKeyUsage=clientAuth",
    "no-usage": "subjectKeyIdentifier=hash",
    "issuer-and-serial": "extendedKeyUsage=clientAuth\nauthorityKeyIdentifier=keyid,issuer:always",
    "both-usages": "extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature",
}


@pytest.mark.parametrize("key", sorted(_KEYS))
@pytest.mark.parametrize("kind", sorted(_EXTENSIONS))
async def test_a_handmade_front_proxy_certificate_is_believed(key: str, kind: str, tmp_path: Path) -> None:
    made = Handmade(tmp_path, key=key)
    certificate = made.make(_EXTENSIONS[kind])
    server = SecuredServer()
    server.publish(clients=(CLUSTER,), front_proxy=(made.authority(),))
    client = client_context()
    client.load_cert_chain(certificate)
    connection = server.tls.connection(shake_hands(server.tls.context, client).server)
    identity = await server.identify(connection, AS_ADMIN)
    assert (identity.method, identity.user.name) == ("front-proxy", "admin")
