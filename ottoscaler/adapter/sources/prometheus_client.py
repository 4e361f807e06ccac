"""Asks one Prometheus: a session, credentials from files that may change, and limits on what comes back.

Reasons that leave here name no address and no text of the server; those go to the log as detail.
"""

import base64
import ssl
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
from yarl import URL

from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.prometheus_answer import Samples, parse
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings, PrometheusTLS
from ottoscaler.runtime.clock import Clock

_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_CLOCK_SKEW = 5.0
"""Seconds, as for readings from the future."""
_MAX_SECRET_BYTES = 64 * 1024


class Access(NamedTuple):
    """What a request needs to be let in."""

    headers: dict[str, str]
    tls: ssl.SSLContext | bool


class AccessFiles:
    """Token, password and certificates, as their files are now."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | None = None
        self._read_from: tuple[object, ...] | None = None

    def read(self) -> Access:
        """Blocking: call it in a thread. Raises `SourceError`."""
        return Access(self._headers(), True if self._settings.tls is None else self._tls(self._settings.tls))

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        basic = self._settings.basic_auth
        if self._settings.bearer_token_file is not None:
            token = _secret(self._settings.bearer_token_file, "bearer token")
            headers["Authorization"] = f"Bearer {token}"
        elif basic is not None:
            pair = f"{basic.username}:{_secret(basic.password_file, 'password')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return headers

    def _tls(self, tls: PrometheusTLS) -> ssl.SSLContext:
        """The same object while the files are the same, since connections are pooled by it."""
        try:
            marks = tuple(
                (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                for file in (tls.ca_file, tls.cert_file, tls.key_file)
                if file is not None
                for stat in [file.stat()]
            )
            if self._context is None or marks != self._read_from:
                context = ssl.create_default_context(cafile=tls.ca_file)
                if tls.cert_file is not None and tls.key_file is not None:
                    context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_passphrase)
                self._context, self._read_from = context, marks
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SourceError("a certificate file for Prometheus cannot be used", detail=str(error)) from None
        return self._context


def _no_passphrase() -> str:
    """Keeps OpenSSL from asking at the terminal."""
    raise ValueError("the key is encrypted")


def _secret(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        detail = str(error) if isinstance(error, OSError) else "it is no text"
        raise SourceError(
            f"the {what} for Prometheus cannot be read", detail=detail, code="unauthorized"
        ) from None
    if not text or not text.isprintable():
        raise SourceError(f"the file of the {what} for Prometheus holds none", code="unauthorized")
    return text


class PrometheusClient:
    """Instant queries to one server. Deadlines are the caller's."""

    def __init__(self, session: aiohttp.ClientSession, settings: PrometheusSettings, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._url = URL(settings.url.rstrip("/")) / "api" / "v1" / "query"
        self._server_name = None if settings.tls is None else settings.tls.server_name

    async def ask(
        self, query: str, *, at: str, what: str, access: Access, keep: Sequence[str] = ()
    ) -> Samples:
        """`query` evaluated at the moment `at` (seconds since the epoch), with the labels to keep. Raises
        `SourceError`."""
        try:
            async with self._session.get(
                self._url,
                params={"query": query, "time": at},
                headers=access.headers,
                ssl=access.tls,
                server_hostname=self._server_name,
                allow_redirects=False,  # credentials go where the configuration says, and nowhere else
            ) as response:
                self._compare_clocks(response.headers.get("Date", ""))
                body = await _read(response)
                return parse(response.status, body, what=what, keep=keep)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise unreachable(error) from None

    def _compare_clocks(self, date: str) -> None:
        """Raises `SourceError` where the answer's `Date` (RFC 9110, whole seconds) is not now.

        The moment that is asked about is told by our clock: with a wrong one, old samples look new.
        """
        try:
            theirs = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return  # not every proxy says it
        ahead = self._clock.time() - theirs
        if not -_CLOCK_SKEW <= ahead <= _CLOCK_SKEW + 1.0:
            raise SourceError(
                "the clocks of Prometheus and of this pod differ: check both",
                detail=f"this one is ahead by {ahead:.0f} s",
                code="invalid",
            )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise SourceError(
                "its query answers more than 4 MiB: aggregate it, for example by sum()", code="invalid"
            )
    return bytes(body)


def unreachable(error: Exception) -> SourceError:
    """What a failure below HTTP means."""
    detail = f"{type(error).__name__}: {error}"
    alert = getattr(error.__cause__, "reason", None)
    if isinstance(error.__cause__, ssl.SSLError) and _is_about_our_certificate(alert):
        # with TLS 1.3 it comes after the handshake, in the place of an answer
        reason = "Prometheus refuses the client certificate, or wants one"
        return SourceError(reason, detail=detail, code="unauthorized")
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = "the certificate of Prometheus is not trusted"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            reason = "no TLS connection to Prometheus"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            reason = "Prometheus broke off its answer"
        case aiohttp.ClientResponseError():
            return SourceError("what answers is no Prometheus", detail=detail, code="invalid")
        case _:
            reason = "no connection to Prometheus"
    return SourceError(reason, detail=detail, code="unreachable")


def _is_about_our_certificate(alert: str | None) -> bool:
    """By OpenSSL's name of the alert, such as `TLSV13_ALERT_CERTIFICATE_REQUIRED`."""
    return alert is not None and "ALERT" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert)
