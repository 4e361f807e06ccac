"""When our own certificates change, over years of virtual time and with replicas that lag behind.

Contract: external-metrics-api.md, "Registration", certificates (a): renewed at two thirds of its life, old
and new both trusted while a change spreads, several replicas agreeing.
"""

import ssl
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ottoscaler.apiservice.issuing import issue, names_of, new_authority
from ottoscaler.apiservice.renewal import DAY, DEFAULT_POLICY, OwnCertificates, RenewalPolicy, renewed
from ottoscaler.apiservice.tls import ServerTls, ServingCertificate
from tests.component.apiservice.authorities import client_context, shake_hands
from tests.virtual import EPOCH

NAMES = ("adapter.ottoscaler.svc", "adapter", "10.1.2.3")
NOTHING = OwnCertificates()
SPREAD = DEFAULT_POLICY.spread


def at(
    now: float,
    held: OwnCertificates = NOTHING,
    *,
    names: tuple[str, ...] = NAMES,
    policy: RenewalPolicy = DEFAULT_POLICY,
    published: bool = True,
) -> OwnCertificates:
    return renewed(held, names=names, now=now, policy=policy, newest_published=published)


def leaf(held: OwnCertificates) -> x509.Certificate:
    assert held.leaf is not None
    return held.leaf


def newest(held: OwnCertificates) -> x509.Certificate:
    assert held.authority is not None
    return held.authority.certificate


FIRST = at(EPOCH)


def test_from_nothing_there_is_a_ca_and_a_certificate_for_every_name() -> None:
    assert FIRST.bundle == (newest(FIRST),)
    assert FIRST.signer == newest(FIRST)
    assert names_of(leaf(FIRST)) == set(NAMES)
    constraints = newest(FIRST).extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    usage = leaf(FIRST).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


def test_what_is_good_is_left_as_it_is() -> None:
    assert at(EPOCH + DAY, FIRST) is FIRST


def test_a_serving_certificate_is_renewed_at_two_thirds_of_its_life_under_the_same_ca() -> None:
    due = EPOCH + DEFAULT_POLICY.serving_life * 2 / 3
    assert at(due - 60, FIRST) is FIRST
    after = at(due + 60, FIRST)
    assert after.authority is FIRST.authority
    assert leaf(after) != leaf(FIRST)
    assert leaf(after).not_valid_after_utc > leaf(FIRST).not_valid_after_utc


def test_a_ca_is_succeeded_in_steps_of_which_each_has_time_to_spread() -> None:
    due = EPOCH + DEFAULT_POLICY.authority_life * 2 / 3 + 60
    before = replace(FIRST, serving=issue_now(FIRST, due))
    announced = at(due, before)
    assert announced.bundle == (newest(announced), newest(FIRST))
    assert announced.serving == before.serving
    assert at(due + SPREAD - 1, announced) is announced
    switched = at(due + SPREAD + 1, announced)
    assert switched.signer == newest(announced)
    assert switched.bundle == announced.bundle
    assert at(due + 2 * SPREAD, switched) is switched
    ended = at(due + 2 * SPREAD + 2, switched)
    assert ended.bundle == (newest(announced),)
    assert ended.serving == switched.serving


def issue_now(held: OwnCertificates, now: float) -> ServingCertificate:
    """A serving certificate made at `now` by the CA that is held."""
    assert held.authority is not None
    return issue(held.authority, names=NAMES, now=now, life=DEFAULT_POLICY.serving_life)


def test_a_new_ca_that_nobody_trusts_yet_signs_only_when_there_is_no_other_way() -> None:
    due = EPOCH + DEFAULT_POLICY.authority_life * 2 / 3 + 60
    announced = at(due, replace(FIRST, serving=issue_now(FIRST, due)))
    assert at(due + 30 * DAY, announced, published=False) is announced
    last = due + DEFAULT_POLICY.serving_life * 0.96
    assert at(last, announced, published=False).signer == newest(announced)


@pytest.mark.parametrize("part", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_damaged_part_is_made_anew_and_the_rest_kept(part: str, content: bytes | None) -> None:
    parts = FIRST.encode()
    if content is None:
        del parts[part]
    else:
        parts[part] = content
    healed = at(EPOCH + DAY, OwnCertificates.decode(parts))
    assert healed.signer in healed.bundle
    if part == "ca.key":
        assert healed.bundle[1:] == FIRST.bundle
        assert healed.serving == FIRST.serving
    if part.startswith("tls"):
        assert healed.bundle == FIRST.bundle


@pytest.mark.parametrize("what", ["expired", "other names", "clock set back"])
def test_a_certificate_that_cannot_serve_is_replaced_at_once(what: str) -> None:
    now = {"expired": EPOCH + 91 * DAY, "other names": EPOCH + DAY, "clock set back": EPOCH - DAY}[what]
    names = (*NAMES, "another.svc") if what == "other names" else NAMES
    after = at(now, FIRST, names=names)
    assert leaf(after) != leaf(FIRST)
    assert leaf(after).not_valid_before_utc.timestamp() <= now < leaf(after).not_valid_after_utc.timestamp()
    assert names_of(leaf(after)) >= set(names)


def test_what_is_stored_is_what_is_held() -> None:
    again = OwnCertificates.decode(FIRST.encode())
    assert again.encode() == FIRST.encode()
    assert at(EPOCH + 1, again) is again


def test_a_certificate_never_outlives_its_ca() -> None:
    authority = new_authority(now=EPOCH, life=10 * DAY)
    serving = issue(authority, names=NAMES, now=EPOCH, life=90 * DAY)
    assert serving.leaf().not_valid_after_utc <= authority.certificate.not_valid_after_utc


def test_clients_verify_it_by_openssls_strict_rules() -> None:
    """With the real time: a Python 3.13 client's default flags include X509_STRICT."""
    held = at(time.time())
    assert held.serving is not None
    tls = ServerTls()
    tls.use_certificate(held.serving)
    client = client_context()
    client.load_verify_locations(cadata=held.bundle_pem().decode())
    client.verify_mode = ssl.CERT_REQUIRED
    client.check_hostname = True
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(tls.context, client, server_hostname="adapter.ottoscaler.svc")


SHORT = RenewalPolicy(authority_life=300.0, serving_life=120.0, spread=20.0)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.floats(1.0, 12.0), min_size=50, max_size=160),
    lag=st.integers(0, 1),
    losses=st.sets(st.integers(5, 150), max_size=2).filter(
        lambda them: max(them, default=0) - min(them, default=0) not in {1, 2, 3}
    ),
)
@example(steps=[11.0] * 160, lag=1, losses=set())
@example(steps=[5.0] * 160, lag=1, losses={40, 41})
def test_whoever_lags_less_than_the_spread_always_finds_a_server_it_can_verify(
    steps: list[float], lag: int, losses: set[int]
) -> None:
    """Replicas and the aggregator see each change up to one step late, which is less than the spread; and
    now and then the CA's key is lost, but not again and again while its successor is still spreading."""
    now, held = EPOCH, at(EPOCH, policy=SHORT)
    history = [held]
    authorities = {newest(held)}
    for number, step in enumerate(steps):
        now += step
        if number in losses:
            held = OwnCertificates.decode({**held.encode(), "ca.key": b"damaged"})
        held = at(now, held, policy=SHORT)
        history.append(held)
        authorities.add(newest(held))
        late = history[-2]
        for serving, trusting in ((history[-1 - lag], held), (held, late), (late, held)):
            assert leaf(serving).not_valid_after_utc.timestamp() > now
            assert serving.signer in trusting.bundle
        assert len(held.bundle) <= 4
    assert len(authorities) >= sum(steps) // 250


def test_a_bundle_is_text_that_people_can_read_back() -> None:
    loaded = x509.load_pem_x509_certificates(FIRST.bundle_pem())
    assert [certificate.public_bytes(Encoding.DER) for certificate in loaded] == [
        certificate.public_bytes(Encoding.DER) for certificate in FIRST.bundle
    ]
