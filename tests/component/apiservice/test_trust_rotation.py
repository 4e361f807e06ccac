"""CAs that rotate under live connections: what held a moment ago is worth nothing once its CA is gone.

Contract: external-metrics-api.md, "Who may ask", item 1 ("The ConfigMap is watched: the CA rotates").
"""

import ssl
from datetime import timedelta

import pytest

from ottoscaler.apiservice.identity import Connection, Unauthenticated
from ottoscaler.runtime.clock import SystemClock
from tests.component.apiservice.authorities import (
    HOUR,
    authority,
    client_context,
    leaf,
    new_key,
    shake_hands,
)
from tests.component.apiservice.secured import AS_ADMIN, SecuredServer, headers

CLUSTER = authority("kubernetes")
OLD, NEW = authority("front-proxy-ca"), authority("front-proxy-ca")
OLD_PROXY, NEW_PROXY = leaf(OLD, "front-proxy-client"), leaf(NEW, "front-proxy-client")


async def accepted(server: SecuredServer, connection: Connection) -> bool:
    try:
        identity = await server.identify(connection, AS_ADMIN)
    except Unauthenticated:
        return False
    return identity.user.name == "admin"


async def test_a_rotation_through_a_bundle_refuses_nobody_who_is_trusted_and_then_the_old_ca_everywhere() -> (
    None
):
    server = SecuredServer()
    server.publish(front_proxy=(OLD,), clients=(CLUSTER,))
    old = server.connect(OLD_PROXY)
    assert await accepted(server, old)
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(NEW_PROXY)

    server.publish(front_proxy=(OLD, NEW), clients=(CLUSTER,))
    new = server.connect(NEW_PROXY)
    assert await accepted(server, old)
    assert await accepted(server, new)
    assert await accepted(server, server.connect(OLD_PROXY))

    server.publish(front_proxy=(NEW,), clients=(CLUSTER,))
    assert not await accepted(server, old)
    assert await accepted(server, new)
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(OLD_PROXY)


async def test_a_ca_renewed_with_its_key_goes_on_to_be_trusted_on_open_connections() -> None:
    key = new_key()
    server = SecuredServer()
    first = authority("front-proxy-ca", key=key)
    server.publish(front_proxy=(first,), clients=(CLUSTER,))
    connection = server.connect(leaf(first, "front-proxy-client"))
    assert await accepted(server, connection)
    server.publish(front_proxy=(authority("front-proxy-ca", key=key),), clients=(CLUSTER,))
    assert await accepted(server, connection)


async def test_a_ca_that_changes_purpose_changes_what_its_certificates_prove() -> None:
    server = SecuredServer()
    server.publish(front_proxy=(OLD,), clients=(CLUSTER,))
    connection = server.connect(OLD_PROXY)
    assert await accepted(server, connection)
    server.publish(front_proxy=(NEW,), clients=(CLUSTER, OLD))
    identity = await server.identify(connection, AS_ADMIN)
    assert (identity.method, identity.user.name) == ("client-certificate", "front-proxy-client")


async def test_allowed_names_and_header_names_change_on_open_connections() -> None:
    server = SecuredServer()
    server.publish(front_proxy=(OLD,), clients=(CLUSTER,))
    connection = server.connect(OLD_PROXY)
    assert await accepted(server, connection)
    server.publish(front_proxy=(OLD,), clients=(CLUSTER,), allowed_names=("another",))
    assert not await accepted(server, connection)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_proves_what_its_certificate_proves_now(version: ssl.TLSVersion) -> None:
    middle = authority("middle", parent=OLD)
    server = SecuredServer()
    server.publish(front_proxy=(OLD,), clients=(CLUSTER,))
    client = client_context(leaf(middle, "front-proxy-client"), version=version)
    first = shake_hands(server.tls.context, client)
    assert await accepted(server, server.tls.connection(first.server))
    again = shake_hands(server.tls.context, client, session=first.client.session)
    assert again.server.session_reused == (version is ssl.TLSVersion.TLSv1_2)  # 1.3 resumes by tickets only
    connection = server.tls.connection(again.server)
    assert await accepted(server, connection)

    server.publish(front_proxy=(NEW,), clients=(CLUSTER,))
    assert not await accepted(server, connection)
    if version is ssl.TLSVersion.TLSv1_2:
        late = shake_hands(server.tls.context, client, session=first.client.session)
        assert late.server.session_reused
        assert not await accepted(server, server.tls.connection(late.server))


class MovableClock(SystemClock):
    def __init__(self) -> None:
        self.ahead = timedelta()

    def time(self) -> float:
        return super().time() + self.ahead.total_seconds()


@pytest.mark.parametrize("what", ["certificate", "intermediate", "ca"])
async def test_what_expires_on_an_open_connection_is_refused_from_then_on(what: str) -> None:
    def life(of: str) -> tuple[timedelta, timedelta]:
        return (-HOUR, HOUR if of == what else 24 * HOUR)

    clock = MovableClock()
    root = authority("root", valid=life("ca"))
    middle = authority("middle", parent=root, valid=life("intermediate"))
    server = SecuredServer(clock=clock)
    server.publish(front_proxy=(root,), clients=(CLUSTER,))
    proxy = server.connect(leaf(middle, "front-proxy-client", valid=life("certificate")))
    assert await accepted(server, proxy)
    clock.ahead = 2 * HOUR
    assert not await accepted(server, proxy)
    with pytest.raises(Unauthenticated, match="not valid at this time"):
        await server.identify(proxy, headers())


async def test_two_cas_of_one_name_are_told_apart_by_their_key_identifiers() -> None:
    """Without identifiers OpenSSL tries only one of the two: a warning says so, and nothing forged passes."""
    server = SecuredServer()
    server.publish(front_proxy=(OLD, NEW), clients=(CLUSTER,))
    for proxy in (OLD_PROXY, NEW_PROXY):
        assert await accepted(server, server.connect(proxy))
    connected = 0
    for ca in (OLD, NEW):
        try:
            connection = server.connect(leaf(ca, "front-proxy-client", identifiers=False))
        except ssl.SSLCertVerificationError:
            continue
        connected += 1
        assert await accepted(server, connection)
    assert connected == 1
