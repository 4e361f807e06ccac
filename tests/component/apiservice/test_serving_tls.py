"""The listener: versions, hot reload of its certificate, and bad certificates that never come into use.

Contract: external-metrics-api.md, "Answers" (TLS below 1.2 an alert) and "Registration" (files are
reloaded without a restart and without dropping connections).
"""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ottoscaler.apiservice.certificates import CertificateFiles
from ottoscaler.apiservice.security_metrics import SecurityMetrics
from ottoscaler.apiservice.tls import CertificateError, ServerTls, ServingCertificate
from tests.component.apiservice.authorities import (
    SERVER,
    Issued,
    KeyKind,
    authority,
    client_context,
    leaf,
    shake_hands,
)
from tests.component.apiservice.secured import SERVER_CA
from tests.waiting import until

NAME = "adapter.ottoscaler.svc"


def serving(ca: Issued = SERVER_CA, kind: KeyKind = "ec") -> ServingCertificate:
    issued = leaf(ca, NAME, names=(NAME,), kind=kind, usages=(SERVER,))
    return ServingCertificate(chain=issued.chain_pem, key=issued.key_pem)


def shown(tls: ServerTls, client: ssl.SSLContext | None = None) -> bytes | None:
    """The certificate that a new connection sees."""
    return shake_hands(tls.context, client or client_context()).client.getpeercert(binary_form=True)


def loaded(certificate: ServingCertificate) -> ServerTls:
    tls = ServerTls()
    tls.use_certificate(certificate)
    return tls


def test_without_a_certificate_nobody_gets_through() -> None:
    with pytest.raises(ssl.SSLError):
        shown(ServerTls())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_clients_verify_the_server_by_its_service_name(version: ssl.TLSVersion, kind: KeyKind) -> None:
    tls = loaded(serving(kind=kind))
    client = client_context(trusting=SERVER_CA, version=version)
    shake_hands(tls.context, client, server_hostname=NAME)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls.context, client, server_hostname="another.svc")


def test_a_chain_with_intermediates_is_sent_whole() -> None:
    middle = authority("middle", parent=SERVER_CA)
    tls = loaded(serving(middle))
    shake_hands(tls.context, client_context(trusting=SERVER_CA), server_hostname=NAME)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_below_1_2_is_refused(version: ssl.TLSVersion) -> None:
    client = client_context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client.minimum_version = client.maximum_version = version
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        shown(loaded(serving()), client)


def test_clients_that_prefer_http_2_are_told_http_1_1() -> None:
    client = client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    hands = shake_hands(loaded(serving()).context, client)
    assert hands.client.selected_alpn_protocol() == "http/1.1"


def test_a_new_certificate_is_shown_from_the_next_handshake_on() -> None:
    tls = loaded(serving())
    before = shown(tls)
    open_connection = shake_hands(tls.context, client_context())
    tls.use_certificate(serving(authority("next")))
    assert shown(tls) != before
    open_connection.client.write(b"still")
    assert open_connection.server.read(5) == b"still"


@pytest.mark.parametrize("what", ["garbage", "key of another", "encrypted key", "no key", "empty"])
def test_a_certificate_that_cannot_serve_is_refused_and_the_old_one_kept(what: str) -> None:
    good = serving()
    issued = leaf(SERVER_CA, NAME)
    encrypted = issued.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    bad = {
        "garbage": ServingCertificate(chain=b"-----BEGIN nothing", key=good.key),
        "key of another": ServingCertificate(chain=good.chain, key=serving().key),
        "encrypted key": ServingCertificate(chain=issued.chain_pem, key=encrypted),
        "no key": ServingCertificate(chain=good.chain, key=good.chain),
        "empty": ServingCertificate(chain=b"", key=b""),
    }[what]
    tls = loaded(good)
    before = shown(tls)
    with pytest.raises(CertificateError) as refusal:
        tls.use_certificate(bad)
    assert "PRIVATE KEY" not in str(refusal.value)
    assert shown(tls) == before
    tls.trust([SERVER_CA.certificate])
    assert shown(tls) == before


@asynccontextmanager
async def echoing(tls: ServerTls) -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_files_are_reloaded_without_a_restart_and_without_dropping_connections(tmp_path: Path) -> None:
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def put(certificate: ServingCertificate) -> None:
        chain.write_bytes(certificate.chain)
        key.write_bytes(certificate.key)

    put(serving())
    tls = ServerTls()
    files = CertificateFiles(chain=chain, key=key, sink=tls.use_certificate, metrics=SecurityMetrics())
    files.load()
    async with echoing(tls) as port:
        reading = asyncio.create_task(files.run())
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
        before = shown(tls)

        chain.write_bytes(b"half of a certif")
        renewed = serving(authority("next"))
        put(renewed)
        await until(lambda: tls.certificate == renewed)
        assert shown(tls) != before
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"

        writer.close()
        await writer.wait_closed()
        reading.cancel()
        await asyncio.wait([reading])


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    files = CertificateFiles(
        chain=tmp_path / "tls.crt",
        key=tmp_path / "tls.key",
        sink=ServerTls().use_certificate,
        metrics=SecurityMetrics(),
    )
    with pytest.raises(CertificateError, match=r"tls\.crt cannot be read: No such file"):
        files.load()
