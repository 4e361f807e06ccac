"""When our own certificates change, decided from nothing but the certificates and the time.

All that several replicas share is the stored text, so the stored text alone decides: every replica comes
to the same conclusion, and whoever stores it first has done the work. A serving certificate is renewed at
two thirds of its life. A CA is succeeded at two thirds of its life in steps that never leave a client with
a server that it cannot verify: the new CA joins the bundle, after `spread` it signs a new serving
certificate, after another `spread` the old CA leaves the bundle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ottoscaler.apiservice.issuing import BACKDATED, Authority, issue, names_of, new_authority
from ottoscaler.apiservice.tls import CertificateError, ServingCertificate
from ottoscaler.apiservice.trust import UNREADABLE

DAY: Final = 86400.0

BUNDLE, AUTHORITY_KEY, CHAIN, KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""The names under which the parts are stored, in a Secret or a directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """How long things live, in seconds."""

    authority_life: float = 730 * DAY
    serving_life: float = 90 * DAY
    renew_at: float = 2 / 3
    """The part of a life after which its successor is made."""
    spread: float = 600.0
    """How long a change is given to reach every replica and the aggregator."""
    look_every: float = 30.0
    """How often the calendar is looked at; a look costs microseconds."""


DEFAULT_POLICY: Final = RenewalPolicy()


@dataclass(frozen=True)
class OwnCertificates:
    """The CA that signs, every CA that clients must trust now (newest first), and the serving certificate."""

    authority: Authority | None = None
    bundle: tuple[x509.Certificate, ...] = ()
    serving: ServingCertificate | None = None

    @cached_property
    def leaf(self) -> x509.Certificate | None:
        """The serving certificate, if it can be read and its key belongs to it."""
        try:
            return _matching_leaf(self.serving) if self.serving is not None else None
        except (*UNREADABLE, CertificateError):
            return None

    @cached_property
    def signer(self) -> x509.Certificate | None:
        """The CA of the bundle that signed the serving certificate."""
        leaf = self.leaf
        return next((ca for ca in self.bundle if leaf is not None and _signed(leaf, ca)), None)

    def bundle_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.bundle)

    def encode(self) -> dict[str, bytes]:
        """The parts by the names under which they are stored."""
        parts = {BUNDLE: self.bundle_pem()}
        if self.authority is not None:
            parts[AUTHORITY_KEY] = self.authority.key_pem()
        if self.serving is not None:
            parts |= {CHAIN: self.serving.chain, KEY: self.serving.key}
        return parts

    @classmethod
    def decode(cls, parts: Mapping[str, bytes]) -> "OwnCertificates":
        """What can be used of the stored parts; what cannot counts as absent, and is made anew."""
        bundle = _bundle(parts.get(BUNDLE, b""))
        chain, key = parts.get(CHAIN), parts.get(KEY)
        return cls(
            authority=_authority(bundle, parts.get(AUTHORITY_KEY, b"")),
            bundle=bundle,
            serving=ServingCertificate(chain=chain, key=key) if chain and key else None,
        )


def renewed(
    held: OwnCertificates,
    *,
    names: Sequence[str],
    now: float,
    policy: RenewalPolicy,
    newest_published: bool = True,
) -> OwnCertificates:
    """What should be held at `now`; `held` itself when that is what is held.

    `newest_published`: clients are known to trust the newest CA. While they are not, the old one's serving
    certificate is kept until it is about to end.
    """
    before = held
    held = _with_authority(held, now=now, policy=policy)
    held = _with_serving(
        held,
        names=names,
        now=now,
        policy=policy,
        newest_published=newest_published,
        known=before.bundle,
    )
    return before if held == before else held


def _with_authority(held: OwnCertificates, *, now: float, policy: RenewalPolicy) -> OwnCertificates:
    bundle = tuple(certificate for certificate in held.bundle if _valid(certificate, now))
    authority = held.authority
    if (
        authority is None
        or authority.certificate not in bundle
        or _spent(authority.certificate, now) >= policy.renew_at
    ):
        authority = new_authority(now=now, life=policy.authority_life)
        bundle = (authority.certificate, *bundle)
    if authority is held.authority and bundle == held.bundle:
        return held
    return OwnCertificates(authority=authority, bundle=bundle, serving=held.serving)


def _with_serving(
    held: OwnCertificates,
    *,
    names: Sequence[str],
    now: float,
    policy: RenewalPolicy,
    newest_published: bool,
    known: Sequence[x509.Certificate],
) -> OwnCertificates:
    """`known`: the CAs that were in the bundle before now, which others have had a chance to see."""
    assert held.authority is not None  # noqa: S101 - `_with_authority` came first
    newest = held.authority.certificate
    leaf = held.leaf
    if leaf is None or held.signer is None or not _valid(leaf, now) or not names_of(leaf).issuperset(names):
        due = True
    elif held.signer == newest:
        due = _spent(leaf, now) >= policy.renew_at
    else:
        ending = _spent(leaf, now) >= 0.95 or _left(leaf, now) <= policy.spread
        due = (newest_published and _age(newest, now) >= policy.spread) or (ending and newest in known)
    if due:
        serving = issue(held.authority, names=names, now=now, life=policy.serving_life)
        return replace(held, serving=serving)
    if held.signer == newest and len(held.bundle) > 1 and leaf and _age(leaf, now) >= policy.spread:
        return replace(held, bundle=(newest,))
    return held


def _valid(certificate: x509.Certificate, now: float) -> bool:
    return certificate.not_valid_before_utc.timestamp() <= now < certificate.not_valid_after_utc.timestamp()


def _age(certificate: x509.Certificate, now: float) -> float:
    """Seconds since the issue."""
    return now - certificate.not_valid_before_utc.timestamp() - BACKDATED


def _left(certificate: x509.Certificate, now: float) -> float:
    """Seconds until the end of its life."""
    return certificate.not_valid_after_utc.timestamp() - now


def _spent(certificate: x509.Certificate, now: float) -> float:
    """The part of its life that has passed."""
    life = certificate.not_valid_after_utc.timestamp() - certificate.not_valid_before_utc.timestamp()
    return _age(certificate, now) / max(1.0, life - BACKDATED)


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _bundle(pem: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem)) if pem.strip() else ()
    except UNREADABLE:
        return ()


def _authority(bundle: Sequence[x509.Certificate], key_pem: bytes) -> Authority | None:
    """The key's CA must be the newest, the first of the bundle."""
    try:
        key = load_pem_private_key(key_pem, None)
        if not bundle or not isinstance(key, ec.EllipticCurvePrivateKey):
            return None
        return Authority(bundle[0], key) if key.public_key() == bundle[0].public_key() else None
    except UNREADABLE:
        return None


def _matching_leaf(serving: ServingCertificate) -> x509.Certificate | None:
    leaf = serving.leaf()
    key = load_pem_private_key(serving.key, None)
    return leaf if key.public_key() == leaf.public_key() else None
