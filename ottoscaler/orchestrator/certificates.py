"""Certificate files, looked at before gRPC gets them, which would only say that it cannot bind or connect."""

import ssl
from pathlib import Path
from typing import NamedTuple


class UnusableCertificate(Exception):
    """Files that are no certificate, key or authority; names them."""


class Pems(NamedTuple):
    """What the files hold; empty where there is no file."""

    certificate: bytes
    key: bytes
    authorities: bytes


class CertificateFiles(NamedTuple):
    """Where a certificate is with its key, and the authorities that others must have; None where there is none."""

    certificate: Path | None
    key: Path | None
    authorities: Path | None

    def paths(self) -> list[Path]:
        """Those that there are."""
        return [path for path in self if path is not None]

    def read(self) -> Pems:
        """As they are now, complete or not. Raises `UnusableCertificate`."""
        try:
            return Pems(*(b"" if path is None else path.read_bytes() for path in self))
        except OSError as error:
            raise UnusableCertificate(f"{error.filename}: {error.strerror}") from error

    def check(self) -> None:
        """Raises `UnusableCertificate` when key and certificate do not belong together, or are none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.certificate is not None and self.key is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except (ssl.SSLError, OSError) as error:
                raise UnusableCertificate(
                    f"{self.certificate} and {self.key} are no PEM certificate and its key"
                ) from error
        if self.authorities is not None:
            try:
                context.load_verify_locations(self.authorities)
            except (ssl.SSLError, OSError) as error:
                raise UnusableCertificate(f"{self.authorities} has no PEM certificate") from error
