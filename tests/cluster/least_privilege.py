"""A service account with exactly the rights that the chart gives the adapter."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ottoscaler.apiservice.ownership import API_SERVICE
from ottoscaler.runtime.kube import KubeClient
from tests.cluster import pki
from tests.cluster.launcher import Cluster
from tests.waiting import until

RBAC = "/apis/rbac.authorization.k8s.io/v1"
NAME = "adapter"


async def token_of(kube: KubeClient, namespace: str, account: str) -> str:
    """A fresh token of a service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await kube.create(path, request)
    return str(answer["status"]["token"])


async def grant(
    kube: KubeClient,
    namespace: str,
    account: str,
    rules: Sequence[dict[str, Any]],
    *,
    everywhere: bool = False,
) -> None:
    """A role with `rules`, bound to the account: in its namespace, or in the whole cluster."""
    base, prefix = (RBAC, "Cluster") if everywhere else (f"{RBAC}/namespaces/{namespace}", "")
    name = f"{namespace}-{account}"
    role = {"kind": f"{prefix}Role", "metadata": {"name": name}, "rules": list(rules)}
    await kube.create(f"{base}/{prefix.lower()}roles", {"apiVersion": "rbac.authorization.k8s.io/v1", **role})
    await bind(kube, namespace, account, f"{prefix}Role", name, everywhere=everywhere)
    for rule in rules:
        await known(
            kube,
            namespace,
            account,
            {
                "group": rule["apiGroups"][0],
                "resource": rule["resources"][0],
                "name": rule.get("resourceNames", [""])[0],
                "verb": rule["verbs"][-1],
                "namespace": "" if everywhere else namespace,
            },
        )


async def known(kube: KubeClient, namespace: str, account: str, attributes: dict[str, str]) -> None:
    """Returns when the API server's authorizer knows the right: it learns of roles by watches, which
    come back one after another when the server has just been restarted."""
    user = f"system:serviceaccount:{namespace}:{account}"

    async def allowed() -> bool:
        review = await kube.create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": attributes},
            },
        )
        return bool(review["status"]["allowed"])

    await until(allowed, what=f"{user} may {attributes['verb']} {attributes['resource']}")


async def bind(
    kube: KubeClient,
    namespace: str,
    account: str,
    kind: str,
    role: str,
    *,
    everywhere: bool = False,
    inside: str | None = None,
) -> str:
    """Binds a role that exists; the path of the binding."""
    base = RBAC if everywhere else f"{RBAC}/namespaces/{inside or namespace}"
    bindings = f"{base}/{'clusterrolebindings' if everywhere else 'rolebindings'}"
    name = f"{namespace}-{account}-{role.replace(':', '-')}"
    await kube.create(
        bindings,
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding" if everywhere else "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
        },
    )
    return f"{bindings}/{name}"


@asynccontextmanager
async def adapter_client(
    kube: KubeClient, cluster: Cluster, namespace: str, directory: Path, *, secret: str = "certificate"
) -> AsyncIterator[KubeClient]:
    """A client as service account `adapter` of `namespace`, whose Secret `secret` exists and is empty."""
    await kube.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": NAME}})
    await kube.create(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": secret}})
    keeping = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret]}
    await grant(kube, namespace, NAME, [{**keeping, "verbs": ["get", "list", "watch", "update"]}])
    registering = {
        "apiGroups": ["apiregistration.k8s.io"],
        "resources": ["apiservices"],
        "resourceNames": [API_SERVICE],
        "verbs": ["get", "list", "watch", "patch"],
    }
    await grant(kube, namespace, NAME, [registering], everywhere=True)
    bindings = [
        await bind(kube, namespace, NAME, "ClusterRole", "system:auth-delegator", everywhere=True),
        await bind(
            kube,
            namespace,
            NAME,
            "Role",
            "extension-apiserver-authentication-reader",
            inside="kube-system",
        ),
        f"{RBAC}/clusterrolebindings/{namespace}-{NAME}-{namespace}-{NAME}",
        f"{RBAC}/clusterroles/{namespace}-{NAME}",
    ]
    reviewing = {"group": "authorization.k8s.io", "resource": "subjectaccessreviews", "verb": "create"}
    await known(kube, namespace, NAME, reviewing)
    trust = {"resource": "configmaps", "name": "extension-apiserver-authentication", "verb": "watch"}
    await known(kube, namespace, NAME, {**trust, "namespace": "kube-system"})
    authority = (cluster.pki / "ca.crt").read_bytes()
    kubeconfig = directory / "adapter.kubeconfig"
    kubeconfig.write_text(pki.kubeconfig(authority, await token_of(kube, namespace, NAME)))
    try:
        async with await KubeClient.connect(kubeconfig) as client:
            yield client
    finally:
        for path in bindings:
            await kube.delete(path)
