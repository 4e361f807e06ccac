"""Whom the server believes, by real TLS handshakes with certificates of every kind.

Contract: external-metrics-api.md, "Who may ask", items 1, 2 and 4.
"""

import ssl
from datetime import timedelta

import pytest

from ottoscaler.apiservice.identity import Unauthenticated
from tests.component.apiservice.authorities import HOUR, SERVER, KeyKind, authority, leaf
from tests.component.apiservice.secured import AS_ADMIN, KnownTokens, SecuredServer, headers

CLUSTER = authority("kubernetes")
FRONT = authority("front-proxy-ca")
PROXY = leaf(FRONT, "front-proxy-client")


def cluster(**published: tuple[str, ...]) -> SecuredServer:
    server = SecuredServer()
    server.publish(front_proxy=(FRONT,), clients=(CLUSTER,), **published)
    return server


async def test_a_front_proxy_names_the_caller() -> None:
    server = cluster()
    connection = server.connect(PROXY)
    identity = await server.identify(
        connection,
        headers(
            ("X-Remote-User", "system:serviceaccount:kube-system:horizontal-pod-autoscaler"),
            ("X-Remote-Uid", "u-1"),
            ("X-Remote-Group", "system:serviceaccounts"),
            ("x-remote-group", "system:authenticated"),
            ("X-Remote-Extra-Authentication.kubernetes.io%2fpod-Name", "kcm-0"),
        ),
    )
    assert identity.method == "front-proxy"
    assert identity.user.name == "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    assert identity.user.uid == "u-1"
    assert identity.user.groups == ("system:serviceaccounts", "system:authenticated")
    assert identity.user.extra == (("authentication.kubernetes.io/pod-name", ("kcm-0",)),)


async def test_the_same_caller_on_the_same_connection_is_the_same_object_without_a_coroutine() -> None:
    server = cluster()
    connection = server.connect(PROXY)
    first = server.authenticator.cached(connection, AS_ADMIN)
    assert first is not None
    assert server.authenticator.cached(connection, AS_ADMIN) is first
    assert server.authenticator.cached(server.connect(PROXY), AS_ADMIN) is first


async def test_forged_headers_without_a_certificate_are_nobody() -> None:
    server = cluster()
    with pytest.raises(Unauthenticated) as refusal:
        await server.identify(server.connect(), AS_ADMIN)
    assert refusal.value.reason == "none"


async def test_forged_headers_with_a_certificate_of_the_cluster_ca_leave_the_certificates_own_user() -> None:
    server = cluster()
    user = leaf(CLUSTER, "jane", organisations=("team-a", "team-b"))
    identity = await server.identify(server.connect(user), AS_ADMIN)
    assert identity.method == "client-certificate"
    assert identity.user.name == "jane"
    assert identity.user.groups == ("team-a", "team-b", "system:authenticated")
    ((key, values),) = identity.user.extra
    assert key == "authentication.kubernetes.io/credential-id"
    assert values[0].startswith("X509SHA256=")


async def test_a_cluster_certificate_with_the_proxys_name_is_no_proxy() -> None:
    server = cluster()
    identity = await server.identify(server.connect(leaf(CLUSTER, "front-proxy-client")), AS_ADMIN)
    assert identity.user.name == "front-proxy-client"
    assert "system:masters" not in identity.user.groups


async def test_a_certificate_of_another_ca_with_the_right_name_does_not_get_through_the_handshake() -> None:
    server = cluster()
    for other in (
        authority("other"),
        authority("front-proxy-ca"),
        authority("front-proxy-ca", identifiers=False),
    ):
        for identifiers in (True, False):
            forged = leaf(other, "front-proxy-client", identifiers=identifiers)
            with pytest.raises(ssl.SSLCertVerificationError):
                server.connect(forged)


async def test_sending_the_real_proxy_ca_along_makes_no_forged_certificate_true() -> None:
    server = cluster()
    user = leaf(CLUSTER, "jane")
    dressed = type(user)(
        user.certificate, user.key, (CLUSTER.certificate, FRONT.certificate, PROXY.certificate)
    )
    identity = await server.identify(server.connect(dressed), AS_ADMIN)
    assert identity.user.name == "jane"


async def test_the_right_ca_with_a_name_that_is_not_allowed_is_nobody() -> None:
    server = cluster()
    with pytest.raises(Unauthenticated, match="requestheader-allowed-names") as refusal:
        await server.identify(server.connect(leaf(FRONT, "kubelet")), AS_ADMIN)
    assert refusal.value.reason == "certificate"


async def test_an_empty_list_of_names_allows_any() -> None:
    server = cluster(allowed_names=())
    for name in ("anything", None):
        identity = await server.identify(server.connect(leaf(FRONT, name)), AS_ADMIN)
        assert identity.user.name == "admin"


async def test_a_proxy_that_names_nobody_is_nobody() -> None:
    server = cluster()
    with pytest.raises(Unauthenticated, match="names no user"):
        await server.identify(server.connect(PROXY), headers(X_Remote_Group="system:masters"))


async def test_one_ca_for_both_purposes_lets_a_refused_proxy_name_be_a_plain_user() -> None:
    server = SecuredServer()
    server.publish(front_proxy=(CLUSTER,), clients=(CLUSTER,))
    as_proxy = await server.identify(server.connect(leaf(CLUSTER, "front-proxy-client")), AS_ADMIN)
    as_user = await server.identify(server.connect(leaf(CLUSTER, "jane")), AS_ADMIN)
    assert (as_proxy.method, as_proxy.user.name) == ("front-proxy", "admin")
    assert (as_user.method, as_user.user.name) == ("client-certificate", "jane")


async def test_a_client_certificate_without_a_common_name_is_nobody() -> None:
    server = cluster()
    with pytest.raises(Unauthenticated, match="no common name"):
        await server.identify(server.connect(leaf(CLUSTER, None, organisations=("team",))), headers())


async def test_a_bearer_token_counts_where_the_certificate_does_not() -> None:
    tokens = KnownTokens(good="token-user")
    server = SecuredServer(tokens=tokens)
    server.publish(front_proxy=(FRONT,), clients=(CLUSTER,))
    with_token = headers(Authorization="Bearer good", X_Remote_User="admin")
    for certificate in (None, leaf(FRONT, "kubelet")):
        identity = await server.identify(server.connect(certificate), with_token)
        assert (identity.method, identity.user.name) == ("token", "token-user")
    identity = await server.identify(server.connect(leaf(CLUSTER, "jane")), with_token)
    assert identity.user.name == "jane"
    assert (await server.identify(server.connect(PROXY), with_token)).user.name == "admin"


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize("identifiers", [True, False], ids=["with-ski-aki", "without-ski-aki"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_keys_of_every_kind_are_taken(
    kind: KeyKind, identifiers: bool, version: ssl.TLSVersion
) -> None:
    front = authority("fp", kind=kind, identifiers=identifiers)
    server = SecuredServer()
    server.publish(front_proxy=(front,), clients=(CLUSTER,))
    proxy = leaf(front, "front-proxy-client", kind=kind, identifiers=identifiers)
    assert (await server.identify(server.connect(proxy, version=version), AS_ADMIN)).user.name == "admin"


async def test_a_path_through_intermediates_is_followed() -> None:
    middle = authority("middle", parent=authority("upper", parent=FRONT))
    upper_and_middle = leaf(middle, "front-proxy-client")
    server = cluster()
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(upper_and_middle)  # "upper" was not sent along
    middle = authority("middle", parent=FRONT)
    identity = await server.identify(server.connect(leaf(middle, "front-proxy-client")), AS_ADMIN)
    assert identity.method == "front-proxy"


async def test_an_intermediate_ca_can_be_the_anchor() -> None:
    root = authority("root")
    middle = authority("middle", parent=root)
    server = SecuredServer()
    server.publish(front_proxy=(middle,), clients=(CLUSTER,))
    proxy = leaf(middle, "front-proxy-client")
    assert (await server.identify(server.connect(proxy), AS_ADMIN)).method == "front-proxy"
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(leaf(root, "front-proxy-client"))


@pytest.mark.parametrize("valid", [(-2 * HOUR, -HOUR), (HOUR, 2 * HOUR)], ids=["expired", "not-yet-valid"])
async def test_a_certificate_outside_its_time_is_refused_in_the_handshake(
    valid: tuple[timedelta, timedelta],
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        cluster().connect(leaf(FRONT, "front-proxy-client", valid=valid))


async def test_a_ca_that_has_expired_vouches_for_nobody() -> None:
    old = authority("old", valid=(-2 * HOUR, -HOUR))
    server = SecuredServer()
    server.publish(front_proxy=(old, FRONT), clients=(CLUSTER,))
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(leaf(old, "front-proxy-client"))
    assert (await server.identify(server.connect(PROXY), AS_ADMIN)).user.name == "admin"


async def test_a_certificate_for_servers_is_no_client_certificate_but_one_for_all_uses_is() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        cluster().connect(leaf(FRONT, "front-proxy-client", usages=(SERVER,)))
    server = cluster()
    unrestricted = leaf(FRONT, "front-proxy-client", usages=())
    assert (await server.identify(server.connect(unrestricted), AS_ADMIN)).method == "front-proxy"


async def test_a_plain_certificate_cannot_sign_others() -> None:
    jane = leaf(CLUSTER, "jane")
    forged = leaf(type(jane)(jane.certificate, jane.key, (jane.certificate,)), "admin")
    with pytest.raises(ssl.SSLCertVerificationError):
        cluster().connect(forged)


async def test_before_anything_is_published_certificates_are_refused_and_headers_worthless() -> None:
    server = SecuredServer()
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(PROXY)
    with pytest.raises(Unauthenticated):
        await server.identify(server.connect(), AS_ADMIN)
